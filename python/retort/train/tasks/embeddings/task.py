"""Training embeddings by contrast: SimCSE (Gao et al. 2021, "Simple Contrastive Learning of Sentence
Embeddings"), without labels.

A text goes through the encoder twice, and dropout makes two views of it: a pair alike. All that is not
alike comes from the same logical shard, which step and shard name, so that it makes no difference how
many processes compute a step.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from retort.data.batches.readers import TextBatch
from retort.data.store.store import TokenStore
from retort.data.tokenizers.text_encoder import TextEncoder
from retort.evaluate.embeddings import EMBEDDINGS, EmbeddingMetrics, HeldOutTopics
from retort.models.arithmetic import NATIVE, Arithmetic, arithmetic_of
from retort.models.embeddings import TextEmbedder, embedder_files
from retort.models.weights import PretrainedWeights, with_new_head
from retort.train.recipe import TrainingRecipe
from retort.train.tasks.embeddings.results import EmbeddingResults
from retort.train.tasks.texts import TextTask


class Embeddings(TextTask[TextEmbedder]):
    """Texts and no labels; see `retort.train.tasks.task.Task`."""

    results = EMBEDDINGS
    joined = None  # each text is told from all others of its shard

    def __init__(
        self,
        recipe: TrainingRecipe,
        store: TokenStore,
        weights: PretrainedWeights,
        tokenise: TextEncoder,
        device: torch.device,
    ) -> None:
        """
        Raises:
            DataError: no two held-out documents have one label, or the weights cannot be read.
            ConfigError: as `TextTask`.
        """
        config, train = recipe.model.embeddings, recipe.train
        assert config is not None
        self._temperature, self._batch = config.temperature, train.batch
        arithmetic = train.settled_arithmetic
        model = with_new_head(
            weights,
            tokenise,
            train.seed,
            lambda backbone: TextEmbedder(backbone, recipe.model.head, arithmetic),
            arithmetic=arithmetic,
        )
        super().__init__(recipe, store, weights, tokenise=tokenise, device=device, model=model)
        self.held_out = HeldOutTopics(store, recipe.data.max_tokens, device)

    def loss(self, model: nn.Module, batch: TextBatch, step: int) -> Tensor:
        """As `Task.loss`: the sum over the texts of a shard, divided by the texts of the step."""
        ids, mask = (torch.from_numpy(one).to(self._device) for one in (batch.ids, batch.mask))
        first, second = model(ids.repeat(2, 1), mask.repeat(2, 1)).chunk(2)
        total = info_nce(first, second, self._temperature, arithmetic_of(model))
        return total / self._batch

    def present(self, measured: Mapping[str, Any]) -> EmbeddingResults:
        """As `Task.present`."""
        return EmbeddingResults(EmbeddingMetrics.from_json(measured))

    def files(self, threads: int) -> dict[str, bytes]:
        """As `Task.files`."""
        return embedder_files(self.model, tokenise=self._tokenise, threads=threads)


def info_nce(
    first: Tensor, second: Tensor, temperature: float, arithmetic: Arithmetic = NATIVE
) -> Tensor:
    """How badly the first view of each text tells its second from those of the others: a sum, float32 [1].

    Equation 4 of Gao et al. 2021.

    Args:
        first, second: float32, [texts, numbers], of length 1; row for row the same text.
    """
    return arithmetic.contrast(first, second, temperature)
