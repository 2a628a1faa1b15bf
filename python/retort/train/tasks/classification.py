"""Fine-tuning a classifier."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from retort.core.errors import DataError
from retort.data.batches.readers import ClassificationReader, Shards, TextBatch
from retort.data.store.store import TokenStore
from retort.data.tokenizers.collator import Collator
from retort.data.tokenizers.text_encoder import TextEncoder
from retort.evaluate.held_out import HELD_OUT, HeldOutTexts
from retort.evaluate.metrics import Metrics
from retort.evaluate.report.classifier import ClassifierResults
from retort.evaluate.report.document_facts import TokenFacts
from retort.evaluate.task import LOGITS
from retort.models.checkpoint import classifier_files
from retort.models.classifier import TextClassifier
from retort.models.weights import PretrainedWeights, build_classifier
from retort.train.recipe import TrainingRecipe
from retort.train.tasks.inspection import Inspection, inspect_texts
from retort.train.tasks.tokens import TRAIN
from retort.train.timing.memory_use import check_batch


class Classification:
    """Texts and their labels; see `retort.train.tasks.task.Task`."""

    results = LOGITS

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
        self.store = store
        self.inputs = {"tokens": store.sealed.seal, "weights": weights.digest}
        max_tokens, train = recipe.data.max_tokens, recipe.train
        self._part = store.part(TRAIN)
        self._tokenise = tokenise
        self._reader = ClassificationReader(
            self._part,
            Collator(store.facts.special, max_tokens, recipe.data.pad_to),
            train.seed,
            Shards(train.batch, train.shards),
            grouping=recipe.data.grouping,
        )
        self._weights = _class_weights(store, train.class_weights)
        self._device = device
        self._device_weights = torch.from_numpy(self._weights).to(device)
        self._smoothing = train.label_smoothing
        self._totals = (-1, 0.0)
        model = build_classifier(weights, store.labels, tokenise, train.seed, recipe.model.head)
        self.model: TextClassifier = model.to(device)
        layers, hidden = self.attention
        # The state of each layer in half precision, of documents as short as they can be.
        state = 2 * layers * hidden * min(recipe.data.pad_to, max_tokens)
        check_batch(train, len(self._part), "documents", state, device)
        self.held_out = HeldOutTexts(store, max_tokens, device)
        self.tokens = TokenFacts(max_tokens, *_cut(store, max_tokens))

    @property
    def attention(self) -> tuple[int, int]:
        """As `Task.attention`."""
        config: Any = self.model.backbone.config
        return int(config.num_hidden_layers), int(config.hidden_size)

    def micro_batch(self, step: int, shard: int) -> TextBatch:
        """As `Task.micro_batch`."""
        return self._reader.batch(step, shard)

    def inspect(self, step: int, shard: int, tokenizer: Tokenizer) -> Inspection:
        """As `Task.inspect`."""
        return inspect_texts(self.micro_batch(step, shard), self.store, self._part, tokenizer)

    def loss(self, model: nn.Module, batch: TextBatch, step: int) -> Tensor:
        """As `Task.loss`: cross-entropy, each document weighted by its label."""
        ids, mask, labels = (
            torch.from_numpy(one).to(self._device) for one in (batch.ids, batch.mask, batch.labels)
        )
        total = cross_entropy(
            model(ids, mask),
            labels,
            weight=self._device_weights,
            reduction="sum",
            label_smoothing=self._smoothing,
        )
        return total / self._total(step)

    def seen(self, step: int) -> int:
        """As `Task.seen`."""
        return self._reader.tokens(step)

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
            self._totals = (step, float(weights.sum(dtype=np.float64)))
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


def _cut(store: TokenStore, max_tokens: int) -> tuple[int, int]:
    """How many documents are longer than the model reads, and how many tokens it does not see."""
    room = max_tokens - store.facts.special.around
    counts = [store.part(name).over(room) for name in (TRAIN, HELD_OUT)]
    return sum(count for count, _ in counts), sum(tokens for _, tokens in counts)
