"""Fine-tuning a classifier."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from retort.core.errors import DataError
from retort.data.batches.readers import TextBatch
from retort.data.store.store import TokenStore
from retort.data.tokenizers.text_encoder import TextEncoder
from retort.evaluate.held_out import HeldOutTexts
from retort.evaluate.metrics import Metrics
from retort.evaluate.report.classifier import ClassifierResults
from retort.evaluate.task import LOGITS
from retort.models.arithmetic import arithmetic_of
from retort.models.checkpoint import classifier_files
from retort.models.classifier import TextClassifier
from retort.models.weights import PretrainedWeights, build_classifier
from retort.train.recipe import TrainingRecipe
from retort.train.tasks.task import shards_of
from retort.train.tasks.texts import TextTask
from retort.train.tasks.tokens import TRAIN


class Classification(TextTask[TextClassifier]):
    """Texts and their labels; see `retort.train.tasks.task.Task`."""

    results = LOGITS
    joined = TextBatch.joined

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
            DataError: a document to learn from has no label, or the weights cannot be read.
            ConfigError: the model cannot read documents as long as the recipe says, a batch is larger
                than an epoch, or memory is too small.
        """
        self._weights = _class_weights(store, recipe.train.class_weights)
        self._device_weights = torch.from_numpy(self._weights).to(device)
        self._smoothing = recipe.train.label_smoothing
        self._totals = (-1, 0.0)
        model = build_classifier(
            *(weights, store.labels, tokenise, recipe.train.seed, recipe.model.head),
            arithmetic=recipe.train.settled_arithmetic,
        )
        super().__init__(recipe, store, weights, tokenise=tokenise, device=device, model=model)
        self.held_out = HeldOutTexts(store, recipe.data.max_tokens, device)

    def loss(self, model: nn.Module, batch: TextBatch, step: int) -> Tensor:
        """As `Task.loss`: cross-entropy, each document weighted by its label."""
        ids, mask, labels = (
            torch.from_numpy(one).to(self._device) for one in (batch.ids, batch.mask, batch.labels)
        )
        total = arithmetic_of(model).classification_loss(
            *(model(ids, mask), labels, self._device_weights, self._smoothing),
            shards=shards_of(batch),
        )
        return total / self._total(step)

    def present(self, measured: Mapping[str, Any]) -> ClassifierResults:
        """As `Task.present`."""
        return ClassifierResults(Metrics.from_json(measured))

    def files(self, threads: int) -> dict[str, bytes]:
        """As `Task.files`."""
        return classifier_files(
            self.model, tokenise=self._tokenise, labels=self.store.labels, threads=threads
        )

    def _total(self, step: int) -> float:
        """The weight of all documents of a step; the shards of a step ask one after the other."""
        if self._totals[0] != step:
            weights = self._weights[self._reader.labels(step)]
            self._totals = (step, math.fsum(weights.tolist()))
        return self._totals[1]


def _class_weights(store: TokenStore, how: str) -> NDArray[np.float32]:
    """The weight of each label; of all documents together the mean is 1."""
    labels = store.part(TRAIN).labels
    if labels.min(initial=0) < 0:
        raise DataError(
            f"{store.sealed.path}: {int((labels < 0).sum())} documents to learn from have no label"
        )
    counts = np.bincount(labels, minlength=len(store.labels))
    if how == "equal":
        return np.ones(len(counts), np.float32)
    if counts.min() == 0:
        missing = store.labels[int(counts.argmin())]
        raise DataError(
            f"train.class_weights: no document to learn from has the label {missing!r}, so it has "
            "no weight; leave it at equal"
        )
    weights: NDArray[np.float32] = (counts.sum() / (len(counts) * counts)).astype(np.float32)
    return weights
