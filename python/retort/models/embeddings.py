"""Embeddings: texts as vectors that are compared by their angle."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from retort.core.seal import Sealed
from retort.data.tokenizers.text_encoder import TextEncoder
from retort.kernels.elementwise import tanh
from retort.models.arithmetic import NATIVE, PORTABLE
from retort.models.backbones import Backbone, encoder_of
from retort.models.checkpoint import (
    fill_text_model,
    opened,
    stored_in,
    text_model_files,
)
from retort.models.classifier import TextClassifier
from retort.models.config import ArithmeticName, HeadConfig
from retort.models.description import arithmetic_in, threads_in
from retort.models.packed.heads import pool
from retort.models.packed.passes import Pass


class TextEmbedder(TextClassifier):
    """An encoder whose answer is a vector of length 1, float32, [texts, hidden].

    In training it is the head's, with a tanh behind it; in evaluation mode the pooled one before the
    head, as in SimCSE (Gao et al., 2021), section 3 and appendix.
    """

    def __init__(
        self, backbone: Backbone, head: HeadConfig, arithmetic: ArithmeticName = "native"
    ) -> None:
        super().__init__(backbone, head, int(backbone.config.hidden_size), arithmetic=arithmetic)

    def answer(self, hidden: Tensor, real: Tensor) -> Tensor:
        """As `TextClassifier.answer`."""
        if self.training:
            return NATIVE.unit(super().answer(hidden, real).tanh())
        return NATIVE.unit(self.head.pool(hidden, real))

    def answer_packed(self, hidden: Tensor, offsets: Tensor, how: Pass) -> Tensor:
        """As `TextClassifier.answer_packed`."""
        if self.training:
            return PORTABLE.unit(tanh(super().answer_packed(hidden, offsets, how)))
        weights = dict(self.head.named_parameters())
        return PORTABLE.unit(pool(self.head.config, weights, hidden, offsets))


@dataclass(frozen=True)
class EmbedderCheckpoint:
    """A trained embedding model.

    Attributes:
        sealed: the verified directory that it came from.
        model: in evaluation mode, float32, on the CPU.
        tokenise: turns texts into the model's input.
        threads: as of `retort.models.checkpoint.Checkpoint`.
    """

    sealed: Sealed
    model: TextEmbedder
    tokenise: TextEncoder
    threads: int

    @property
    def tokenizer(self) -> bytes:
        """Content of its `tokenizer.json`."""
        return self.tokenise.definition


def embedder_files(model: TextEmbedder, *, tokenise: TextEncoder, threads: int) -> dict[str, bytes]:
    """All files of its checkpoint but the weights, which do not change in training."""
    return text_model_files("embeddings", model, tokenise, threads, {})


def load_embedder(path: Path, seal: str | None = None) -> EmbedderCheckpoint:
    """Verify an embedding model's checkpoint, then build its model from the verified bytes.

    Args:
        seal: the one that it must have; see `retort.core.seal.verify`.
    Raises:
        UserError, SealError: as `retort.models.checkpoint.load_checkpoint`.
    """
    with opened(path, "embeddings", seal) as (sealed, facts, architecture):
        head = HeadConfig.model_validate(facts["head"])
        arithmetic = arithmetic_in(facts)
        model = TextEmbedder(encoder_of(architecture, arithmetic), head, arithmetic)
        tokenise = fill_text_model(model, sealed, facts, stored_in(sealed))
        return EmbedderCheckpoint(sealed, model, tokenise, threads_in(facts))
