"""What is recorded of a run, and where it can be seen."""

from typing import Literal

from pydantic import Field

from retort.core.config import Frozen


class LoggingConfig(Frozen):
    """Watching a run. It changes nothing that is computed, so no seal holds it."""

    every: int = Field(default=10, ge=1)
    """Steps between two records of throughput, memory and the share of each phase."""
    tensorboard: bool = True
    """Whether to write event files into `tensorboard/` of the run."""
    wandb_project: str | None = Field(default=None, min_length=1)
    """Project at Weights & Biases; none leaves it alone."""
    wandb_mode: Literal["online", "offline"] = "online"
    """Offline needs no network: `wandb sync` sends the run later."""
