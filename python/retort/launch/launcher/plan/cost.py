"""What a job takes until its deadline, and what that costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from retort.core.config import Frozen, load_recipe
from retort.core.errors import ConfigError, shown
from retort.launch.job import Job
from retort.launch.units import quantity, seconds

_GIB = 2**30


class Prices(Frozen):
    """What an hour costs, by what a pod asks for."""

    called: ClassVar[str] = "the prices"

    currency: str = Field(min_length=1, max_length=8)
    """Such as USD; all prices are in it."""
    gpu: float = Field(default=0.0, ge=0.0)
    """Of one GPU, for an hour."""
    cpu: float = Field(default=0.0, ge=0.0)
    """Of one core, for an hour."""
    memory: float = Field(default=0.0, ge=0.0)
    """Of one GiB, for an hour."""


@dataclass(frozen=True)
class Cost:
    """
    Attributes:
        gpus: of all pods.
        hours: until the deadline; None without one.
        hourly: in the currency of the prices; None without prices.
    """

    gpus: int
    cores: float
    memory_gib: float
    hours: float | None
    hourly: float | None
    currency: str

    @property
    def gpu_hours(self) -> float | None:
        """At most, until the deadline."""
        return None if self.hours is None else self.gpus * self.hours

    @property
    def most(self) -> float | None:
        """At most, until the deadline."""
        return None if self.hours is None or self.hourly is None else self.hours * self.hourly


def load_prices(file: Path, start: Path) -> Prices:
    """Read a file of prices.

    Raises:
        ConfigError: names the key and what is allowed.
    """
    if not file.is_file():
        raise ConfigError(f"--prices {shown(file)}: there is no such file")
    none: Sequence[str] = ()
    return load_recipe(Prices, file, none, start).config


def cost(job: Job, prices: Prices | None) -> Cost:
    """Of a job with all its pods."""
    config = job.config
    gpus = config.nodes * config.gpus
    cores = config.nodes * float(quantity(config.cpu))
    memory = config.nodes * float(quantity(config.memory)) / _GIB
    hourly = None
    if prices is not None:
        hourly = gpus * prices.gpu + cores * prices.cpu + memory * prices.memory
    return Cost(
        gpus,
        cores,
        memory,
        None if config.deadline is None else seconds(config.deadline) / 3600,
        hourly,
        "" if prices is None else prices.currency,
    )
