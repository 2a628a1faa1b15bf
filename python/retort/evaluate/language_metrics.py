"""How well a language model foretells the tokens of documents."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

from retort.core.errors import VerificationError
from retort.evaluate.elementary import exp
from retort.evaluate.task import Demands

_LOG_2 = float.fromhex("0x1.62e42fefa39efp-1")
_MOST = 700.0
"""Nats a token; e to the power of a little more is not a float."""


@dataclass(frozen=True)
class LanguageMetrics:
    """Figures of one set of blocks.

    Attributes:
        tokens: number of targets.
        loss: mean negative log-likelihood of a target, in nats; bits_per_token: the same in bits.
        perplexity: e to the power of the loss.
    """

    tokens: int
    loss: float
    perplexity: float
    bits_per_token: float

    def figures(self) -> dict[str, float]:
        """What is worth a curve over the steps, by name."""
        return {"loss": self.loss, "perplexity": self.perplexity}

    def line(self) -> str:
        """As `Measured.line`."""
        return f"loss {self.loss:.4f}, perplexity {self.perplexity:.2f} on {self.tokens} held-out tokens"

    def missed(self, demands: Demands) -> str | None:
        """As `Measured.missed`."""
        return demands.missed(loss=self.loss)

    def to_json(self) -> dict[str, Any]:
        """A JSON object, read back by `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "LanguageMetrics":
        """The inverse of `to_json`, also after a round through JSON text."""
        return cls(**{name: value[name] for name in cls.__dataclass_fields__})


def measure_language(sums: Tensor, targets: Tensor) -> LanguageMetrics:
    """All figures, from the losses of at least one block.

    Args:
        sums: float64 [blocks], of the losses of each block's targets, in nats.
        targets: int64 [blocks], how many those are.
    Raises:
        VerificationError: a loss is not a finite number, or far from any language.
    """
    tokens = int(targets.sum())
    # math.fsum rounds once, so that the number of threads changes nothing.
    loss = math.fsum(sums.tolist()) / tokens if bool(sums.isfinite().all()) else math.nan
    if not abs(loss) < _MOST:
        wrong = int((~sums.isfinite()).sum())
        raise VerificationError(
            f"the loss of held-out tokens is {loss}: {wrong} of {len(sums)} blocks have no finite one"
        )
    return LanguageMetrics(tokens, loss, float(exp(np.array([loss]))[0]), loss / _LOG_2)
