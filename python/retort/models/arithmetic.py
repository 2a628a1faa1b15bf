"""The two arithmetics in which a model is computed, and what a task computes besides the model in each.

PyTorch's is native: its libraries choose by the processor, and so do the last bits. The kernels' is portable: a
function of the numbers alone (docs/arithmetic.md).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from retort.core.errors import ConfigError
from retort.kernels import rows
from retort.kernels.elementwise import key_of, normal
from retort.kernels.embeddings import summed
from retort.kernels.products import matmul
from retort.models.packed.architecture import Architecture
from retort.models.packed.decoders import PackedGPT2, PackedLlama
from retort.models.packed.encoders import PackedEncoder
from retort.models.packed.forms import packed_form
from retort.models.packed.layers import Weights
from retort.models.packed.passes import EXACT, Pass

_TINY = 1e-12
"""The least length that a vector is divided by, as in `torch.nn.functional.normalize`."""
FormT = TypeVar("FormT", PackedEncoder, "PackedLlama | PackedGPT2")


@dataclass
class Portable(Generic[FormT]):
    """How a model is computed by the kernels.

    Attributes:
        form: the forward pass of its encoder or decoder.
        together: whether several logical shards can be computed in one pass, and gradients be made where they are to
            lie. Not where a weight is used twice: its gradients are added to each other before those of shards are.
        training, evaluating: how the next pass in training and in evaluation mode is made.
        weights: gives the weights of a part of the model by their names there; an engine whose processes share them
            out brings them from where they are.
    """

    form: FormT
    together: bool = True
    training: Pass = field(default=EXACT)
    evaluating: Pass = field(default=EXACT)
    weights: Callable[[nn.Module], Weights] = field(
        default=lambda part: dict(part.named_parameters())
    )

    def how(self, model: nn.Module) -> Pass:
        """How the next pass of a model is made."""
        return self.training if model.training else self.evaluating


def portable_encoder(config: Architecture) -> Portable[PackedEncoder]:
    """
    Raises:
        ConfigError: an encoder of this architecture has no packed form.
    """
    form = packed_form(config)
    if not isinstance(form, PackedEncoder):
        raise ConfigError(_no_form(config))
    return Portable(form)


def portable_decoder(config: Architecture) -> "Portable[PackedLlama | PackedGPT2]":
    """
    Raises:
        ConfigError: a decoder of this architecture has no packed form.
    """
    form = packed_form(config)
    if form is None or isinstance(form, PackedEncoder):
        raise ConfigError(_no_form(config))
    return Portable(form, together=not config.tie_word_embeddings)


def has_portable_form(config: Architecture) -> bool:
    """Whether a model of this architecture can be computed by the kernels."""
    return packed_form(config) is not None


def _no_form(config: Architecture) -> str:
    return (
        f"train.arithmetic: portable is not for a model of type {config.model_type} with these "
        "settings; write native"
    )


class Arithmetic(Protocol):
    """What a task computes of a model's answers, float32, with gradients."""

    def classification_loss(
        self,
        logits: Tensor,
        labels: Tensor,
        weights: Tensor,
        smoothing: float,
        shards: Tensor | None = None,
    ) -> Tensor:
        """The sum of the cross-entropies of the texts of each shard, each weighted by its label, [shards].

        Args:
            logits: [texts, labels]; labels: int64 [texts]; weights: [labels].
            shards: where the texts of each begin and the last end, int64 [shards + 1], which portable arithmetic
                alone tells apart; all are of one by default.
        """

    def token_losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The cross-entropy of each token, [tokens], of logits [tokens, vocabulary] and targets, int64 [tokens]."""

    def contrast(self, first: Tensor, second: Tensor, temperature: float) -> Tensor:
        """The sum of the cross-entropies by which rows of `first` tell their own row of `second`, [1]."""

    def total(self, values: Tensor, shards: Tensor | None = None) -> Tensor:
        """The sum of the rows of each shard, [shards].

        Args:
            values: [rows, ...].
            shards: as of `classification_loss`.
        """

    def unit(self, vectors: Tensor) -> Tensor:
        """Vectors, [n, numbers], at length 1."""

    def probabilities(self, logits: Tensor) -> Tensor:
        """The softmax of each row of logits, [texts, labels]."""


class _Native:
    def classification_loss(
        self,
        logits: Tensor,
        labels: Tensor,
        weights: Tensor,
        smoothing: float,
        shards: Tensor | None = None,
    ) -> Tensor:
        assert shards is None
        loss = functional.cross_entropy(
            logits, labels, weight=weights, reduction="sum", label_smoothing=smoothing
        )
        return loss.reshape(1)

    def token_losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(logits, targets, reduction="none")

    def contrast(self, first: Tensor, second: Tensor, temperature: float) -> Tensor:
        # The largest cosines decide, and in bfloat16 they would all be the same.
        with torch.autocast(first.device.type, enabled=False):
            cosines = first @ second.T
        own = torch.arange(len(first), device=first.device)
        return functional.cross_entropy(cosines / temperature, own, reduction="sum").reshape(1)

    def total(self, values: Tensor, shards: Tensor | None = None) -> Tensor:
        assert shards is None
        return values.sum().reshape(1)

    def unit(self, vectors: Tensor) -> Tensor:
        return functional.normalize(vectors, dim=1)

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=1)


class _Portable:
    def classification_loss(
        self,
        logits: Tensor,
        labels: Tensor,
        weights: Tensor,
        smoothing: float,
        shards: Tensor | None = None,
    ) -> Tensor:
        return self.total(rows.cross_entropy(logits, labels, weights, smoothing), shards)

    def token_losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        return rows.cross_entropy(logits, targets)

    def contrast(self, first: Tensor, second: Tensor, temperature: float) -> Tensor:
        cosines: Tensor = matmul(first, second.t())
        return self.total(rows.cross_entropy(cosines / temperature, torch.arange(len(first))))

    def total(self, values: Tensor, shards: Tensor | None = None) -> Tensor:
        if shards is None:
            shards = torch.tensor([0, len(values)])
        in_a_row = values.numel() // max(len(values), 1)
        column: Tensor = summed(values.reshape(-1, 1), shards * in_a_row)
        return column[:, 0]

    def unit(self, vectors: Tensor) -> Tensor:
        # Sums over a row and what spreads a number over it are products: autograd's own are PyTorch's.
        ones = torch.ones(vectors.shape[1], 1)
        squares: Tensor = matmul(vectors * vectors, ones)
        scales: Tensor = matmul(1 / squares.clamp(min=_TINY**2).sqrt(), ones.t())
        return vectors * scales

    def probabilities(self, logits: Tensor) -> Tensor:
        return rows.softmax(logits)


NATIVE: Arithmetic = _Native()
PORTABLE: Arithmetic = _Portable()


def is_portable(model: nn.Module) -> bool:
    """Whether a model, or one that is wrapped, is computed by the kernels."""
    return getattr(model, "portable", None) is not None


def arithmetic_of(model: nn.Module) -> Arithmetic:
    """That of a model, or of what wraps one."""
    return PORTABLE if is_portable(model) else NATIVE


def drawn(shape: torch.Size, deviation: float, *place: int | str) -> Tensor:
    """Numbers of the normal distribution around 0, each a function of the place and of its number; portable."""
    return normal(shape, key_of(*place)) * deviation
