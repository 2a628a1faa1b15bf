"""What tasks share that train a pretrained encoder on texts."""

from typing import Any, Generic

import torch
from tokenizers import Tokenizer

from retort.data.batches.readers import ClassificationReader, Shards, TextBatch
from retort.data.store.store import TokenStore
from retort.data.tokenizers.collator import Collator
from retort.data.tokenizers.text_encoder import TextEncoder
from retort.evaluate.held_out import HELD_OUT
from retort.evaluate.report.document_facts import TokenFacts
from retort.models.weights import HeadedT, PretrainedWeights
from retort.train.recipe import TrainingRecipe
from retort.train.tasks.inspection import Inspection, inspect_texts
from retort.train.tasks.tokens import TRAIN
from retort.train.timing.memory_use import check_batch


class TextTask(Generic[HeadedT]):
    """Texts and a model that reads them; see `retort.train.tasks.task.Task`."""

    def __init__(
        self,
        recipe: TrainingRecipe,
        store: TokenStore,
        weights: PretrainedWeights,
        *,
        tokenise: TextEncoder,
        device: torch.device,
        model: HeadedT,
    ) -> None:
        """
        Args:
            weights, tokenise: of what `model` was built from.
        Raises:
            ConfigError: a batch is larger than an epoch, or memory is too small.
            DataError: there is nothing to learn from, or the tokenizer has no padding token.
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
            grouping=recipe.data.settled_grouping,
        )
        self._device = device
        self.model: HeadedT = model.to(device)
        layers, hidden = self.attention
        # The state of each layer in half precision, of documents as short as they can be.
        state = 2 * layers * hidden * min(recipe.data.pad_to, max_tokens)
        check_batch(train, len(self._part), "documents", state, device)
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

    def seen(self, step: int) -> int:
        """As `Task.seen`."""
        return self._reader.tokens(step)


def _cut(store: TokenStore, max_tokens: int) -> tuple[int, int]:
    """How many documents are longer than the model reads, and how many tokens it does not see."""
    room = max_tokens - store.facts.special.around
    counts = [store.part(name).over(room) for name in (TRAIN, HELD_OUT)]
    return sum(count for count, _ in counts), sum(tokens for _, tokens in counts)
