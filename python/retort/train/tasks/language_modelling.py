"""Training a causal language model from scratch."""

from collections.abc import Mapping
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from retort.core.errors import ConfigError
from retort.data.batches.readers import BlockBatch, BlockReader, Shards
from retort.data.store.store import TokenStore
from retort.evaluate.held_out import HeldOutBlocks
from retort.evaluate.language_metrics import LanguageMetrics
from retort.evaluate.report.language_model import LanguageModelResults
from retort.evaluate.task import LOSSES
from retort.models.arithmetic import arithmetic_of
from retort.models.checkpoint import language_model_files
from retort.models.config import LanguageModelConfig
from retort.models.language_model import LanguageModel, build_language_model, token_losses
from retort.train.recipe import TrainingRecipe
from retort.train.tasks.inspection import Inspection, inspect_blocks
from retort.train.tasks.task import shards_of
from retort.train.tasks.tokens import TRAIN
from retort.train.timing.memory_use import check_batch, check_memory

_BYTES = 8
"""Of a weight and its gradient."""


class LanguageModelling:
    """Blocks of tokens, each predicted from those before it; see `retort.train.tasks.task.Task`."""

    tokens = None
    results = LOSSES
    joined = BlockBatch.joined

    def __init__(
        self,
        recipe: TrainingRecipe,
        config: LanguageModelConfig,
        store: TokenStore,
        device: torch.device,
    ) -> None:
        """
        Raises:
            ConfigError: blocks are longer than the model's context, a batch is larger than an epoch,
                or memory is too small.
            DataError: there is nothing to learn from, or the tokenizer has no boundary token.
        """
        length, train = recipe.data.max_tokens, recipe.train
        if length != config.context:
            raise ConfigError(
                f"data.max_tokens: a language model learns from blocks of its context, which is "
                f"{config.context}, not {length}"
            )
        self.store = store
        self.inputs = {"tokens": store.sealed.seal}
        self._part = store.part(TRAIN)
        self._reader = BlockReader(
            self._part,
            store.facts.special,
            length,
            train.seed,
            Shards(train.batch, train.shards),
        )
        self._device = device
        vocabulary = store.facts.vocabulary_size
        weights = config.matrix_weights(vocabulary)
        check_memory(
            _BYTES * weights,
            f"model.language_model: {weights:,} weights with their gradients",
            device,
        )
        # The state of each layer in half precision, and the scores of each next token.
        state = length * (2 * config.hidden * config.layers + 4 * vocabulary)
        check_batch(train, self._reader.length, "blocks", state, device)
        model = build_language_model(
            *(config, vocabulary, train.seed, train.settled_arithmetic),
            boundary=store.facts.special.boundary,
        )
        self.model: LanguageModel = model.to(device)
        self.attention = (config.layers, config.hidden)
        self.held_out = HeldOutBlocks(store, length, device)

    def micro_batch(self, step: int, shard: int) -> BlockBatch:
        """As `Task.micro_batch`."""
        return self._reader.batch(step, shard)

    def inspect(self, step: int, shard: int, tokenizer: Tokenizer) -> Inspection:
        """As `Task.inspect`."""
        return inspect_blocks(self.micro_batch(step, shard), self._part, tokenizer)

    def loss(self, model: nn.Module, batch: BlockBatch, step: int) -> Tensor:
        """As `Task.loss`: of the targets that count, each as much as any other."""
        losses = token_losses(model, torch.from_numpy(batch.ids).to(self._device))
        targets = torch.from_numpy(batch.targets).to(self._device)
        counted = torch.arange(losses.shape[1], device=self._device) < targets[:, None]
        total = arithmetic_of(model).total(losses.where(counted, 0.0), shards_of(batch))
        return total / self._reader.targets(step)

    def seen(self, step: int) -> int:
        """As `Task.seen`."""
        return self._reader.targets(step)

    def present(self, measured: Mapping[str, Any]) -> LanguageModelResults:
        """As `Task.present`."""
        return LanguageModelResults(LanguageMetrics.from_json(measured))

    def files(self, threads: int) -> dict[str, bytes]:
        """As `Task.files`."""
        return language_model_files(self.model, tokenizer=self.store.tokenizer, threads=threads)
