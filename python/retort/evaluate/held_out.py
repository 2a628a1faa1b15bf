"""What a model makes of the part of a token store that is held out.

The part is cut into batches that never change, so whoever computes which of them, in whatever
order, the results joined in the order of their numbers are the same bits.
"""

import numpy as np
import torch
from torch import Tensor, nn

from retort.data.batches.readers import BlockReader, ClassificationReader, Shards
from retort.data.store.store import TokenStore
from retort.evaluate.language_metrics import LanguageMetrics, measure_language
from retort.evaluate.metrics import Metrics, measure
from retort.models.language_model import token_losses
from retort.models.predict import logits_of_each

HELD_OUT = "held_out"
_CPU = torch.device("cpu")
_DOCUMENTS = 32
_TOKENS = 2048
"""In a batch of blocks: their logits over a vocabulary of 50,000 are 400 MB."""


class HeldOutTexts:
    """Held-out documents for a classifier, in their order."""

    def __init__(self, store: TokenStore, max_tokens: int, device: torch.device = _CPU) -> None:
        """
        Args:
            max_tokens: length of every text, special tokens included; longer ones are cut.
            device: where the model is.
        Raises:
            DataError: nothing is held out, or the tokenizer has no padding token.
        """
        part = store.part(HELD_OUT)
        self._reader = ClassificationReader(
            part, store.facts.special, (max_tokens,), 0, Shards(_DOCUMENTS)
        )
        self._documents = len(part)
        self._device = device
        self.batches = -(-self._documents // _DOCUMENTS)
        """Number of batches."""

    def logits(self, model: nn.Module, number: int) -> Tensor:
        """Logits of one batch, float32, [texts, labels], on the CPU.

        Args:
            model: in evaluation mode.
            number: of the batch, from 0.
        """
        numbers = _numbers(number, _DOCUMENTS, self._documents)
        # As many forward passes in each batch: a model that is shared out needs all ranks in each.
        passes = min(_DOCUMENTS, self._documents)
        batch = self._reader.texts(np.pad(numbers, (0, passes - len(numbers)), mode="edge"))
        ids, mask = (torch.from_numpy(one).to(self._device) for one in (batch.ids, batch.mask))
        return logits_of_each(model, ids, mask)[: len(numbers)].cpu()


class HeldOutBlocks:
    """Held-out documents for a language model, as blocks in their order."""

    def __init__(self, store: TokenStore, tokens: int, device: torch.device = _CPU) -> None:
        """
        Args:
            tokens: number of inputs, and of targets, in a block.
            device: where the model is.
        Raises:
            DataError: nothing is held out, or the tokenizer has no boundary token.
        """
        self._size = max(1, _TOKENS // tokens)
        self._device = device
        self._reader = BlockReader(
            store.part(HELD_OUT), store.facts.special, tokens, 0, Shards(self._size)
        )
        self.blocks = self._reader.length
        """Number of blocks."""
        self.batches = -(-self.blocks // self._size)
        """Number of batches."""
        targets = np.full(self.blocks, tokens, np.int64)
        last = self._reader.blocks(np.array([self.blocks - 1]))
        targets[-1] = last.targets[0]
        self.targets = torch.from_numpy(targets)
        """int64 [blocks]: how many targets of each count."""

    @torch.inference_mode()
    def loss_sums(self, model: nn.Module, number: int) -> Tensor:
        """Sums of the losses of each block of one batch, in nats: float64 [blocks], on the CPU.

        Args:
            model: a `LanguageModel` in evaluation mode.
            number: of the batch, from 0.
        """
        batch = self._reader.blocks(_numbers(number, self._size, self.blocks))
        ids = torch.from_numpy(batch.ids).to(self._device)
        losses = token_losses(model, ids).cpu()
        places = torch.arange(losses.shape[1])
        counted = places < torch.from_numpy(batch.targets)[:, None]
        return losses.double().where(counted, 0.0).sum(dim=1)


def held_out_logits(model: nn.Module, store: TokenStore, max_tokens: int) -> Tensor:
    """Logits of the held-out documents in their order, by this process alone.

    Args:
        model: in evaluation mode.
        max_tokens: length of every text, special tokens included; longer ones are cut.
    Returns:
        float32, [documents, labels].
    """
    texts = HeldOutTexts(store, max_tokens)
    return torch.cat([texts.logits(model, number) for number in range(texts.batches)])


def held_out_loss_sums(model: nn.Module, store: TokenStore, tokens: int) -> Tensor:
    """Sums of the losses of each held-out block, by this process alone: float64 [blocks].

    Args:
        model: a `LanguageModel` in evaluation mode.
        tokens: number of inputs, and of targets, in a block.
    """
    blocks = HeldOutBlocks(store, tokens)
    return torch.cat([blocks.loss_sums(model, number) for number in range(blocks.batches)])


def measure_held_out(logits: Tensor, store: TokenStore) -> Metrics:
    """Measure logits of the held-out documents."""
    targets = torch.from_numpy(store.part(HELD_OUT).labels)
    return measure(targets, logits, store.labels)


def measure_held_out_blocks(sums: Tensor, store: TokenStore, tokens: int) -> LanguageMetrics:
    """Measure the losses of held-out blocks of so many tokens."""
    return measure_language(sums, HeldOutBlocks(store, tokens).targets)


def _numbers(batch: int, size: int, total: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.arange(batch * size, min((batch + 1) * size, total), dtype=np.int64)
