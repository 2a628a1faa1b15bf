"""Model FLOPs of training, and their share of what the devices could do (MFU).

Chowdhery and others, "PaLM: Scaling Language Modeling with Pathways" (2022), appendix B: forward
and backward of one token take 6 operations for each weight that it is multiplied by, and
12 x layers x hidden size for each token that it attends to. Padding is no work by this measure,
and neither is recomputation, so a run that does less of them has the higher MFU.
"""

from dataclasses import dataclass

from torch import nn

from retort.models.packed.tree import Table
from retort.train.timing.peak_flops import PeakFlops


@dataclass(frozen=True)
class ModelCost:
    """Operations of one forward and backward.

    Attributes:
        per_token: for each token.
        per_pair: for each token and each token of its sample.
    """

    per_token: float
    per_pair: float

    @classmethod
    def of(cls, model: nn.Module, layers: int, hidden: int) -> "ModelCost":
        """The cost of a model whose weights are frozen or not as they will be in training.

        A table that is only looked up costs nothing; one that is the output layer too does. A
        frozen weight costs 2 instead of 6, which is nearly right where the lowest layers are frozen,
        and attention less in the same proportion. The head of a classifier counts as if it saw
        every token: 1 to 3 % too much in a small encoder.

        Args:
            layers, hidden: of the attention layers: their number, and heads x size of a head.
        """
        multiplied = {
            id(weight): weight
            for module in model.modules()
            if not isinstance(module, nn.Embedding | Table)
            for weight in module.parameters(recurse=False)
        }.values()
        weights = sum(weight.numel() for weight in multiplied)
        trained = sum(weight.numel() for weight in multiplied if weight.requires_grad)
        passes = 2 + 4 * trained / max(weights, 1)
        return cls(per_token=passes * weights, per_pair=2 * passes * layers * hidden)

    def flops(self, samples: int, tokens: int) -> float:
        """Operations of some samples together, taken as equally long (texts are not: a little less
        than theirs).

        Args:
            tokens: of all of them, padding not counted.
        """
        return tokens * (self.per_token + self.per_pair * tokens / max(samples, 1))


@dataclass(frozen=True)
class Meter:
    """The model, and the devices that work on it together."""

    cost: ModelCost
    peak: PeakFlops
    devices: int

    def mfu(self, samples: int, tokens: int, seconds: float) -> float:
        """The model FLOPs of `samples` in `seconds`, as a share of the devices' peak."""
        return self.cost.flops(samples, tokens) / (seconds * self.peak.flops * self.devices)
