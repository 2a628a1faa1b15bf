"""What a model makes of the part of a token store that is held out; see `task.HeldOut`."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from retort.data.batches.readers import BlockReader, ClassificationReader, Shards
from retort.data.store.store import TokenStore
from retort.data.tokenizers.collator import Collator
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

    def __init__(
        self,
        store: TokenStore,
        max_tokens: int,
        device: torch.device = _CPU,
        most: int | None = None,
    ) -> None:
        """
        Args:
            max_tokens: the most of a text that is kept, special tokens included.
            device: where the model is.
            most: how many documents at most; of more, as many from all over the part.
        Raises:
            DataError: nothing is held out, or the tokenizer has no padding token.
        """
        part = store.part(HELD_OUT)
        collator = Collator(store.facts.special, max_tokens, pad_to=max_tokens)
        self._reader = ClassificationReader(part, collator, 0, Shards(_DOCUMENTS))
        count = len(part) if most is None else min(most, len(part))
        self.documents: NDArray[np.int64] = np.arange(count) * len(part) // max(1, count)
        """Numbers of the documents in the part."""
        self._store = store
        self._device = device
        self.batches = -(-count // _DOCUMENTS)
        """Number of batches."""

    def results(self, model: nn.Module, number: int) -> Tensor:
        """Logits of one batch, float32, [texts, labels], on the CPU.

        Args:
            model: in evaluation mode.
            number: of the batch, from 0.
        """
        numbers = self.documents[number * _DOCUMENTS : (number + 1) * _DOCUMENTS]
        # As many forward passes in each batch: a model that is shared out needs all ranks in each.
        passes = min(_DOCUMENTS, len(self.documents))
        batch = self._reader.texts(np.pad(numbers, (0, passes - len(numbers)), mode="edge"))
        ids, mask = (torch.from_numpy(one).to(self._device) for one in (batch.ids, batch.mask))
        return logits_of_each(model, ids, mask)[: len(numbers)].cpu()

    def measure(self, results: Tensor) -> Metrics:
        """Figures from the logits of all documents, float32 [documents, labels].

        Raises:
            VerificationError: a logit is not a finite number.
        """
        targets = torch.from_numpy(self._store.part(HELD_OUT).labels)
        return measure(targets, results, self._store.labels)


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
    def results(self, model: nn.Module, number: int) -> Tensor:
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
        # One after another: in which order PyTorch adds up a row follows the processor.
        return losses.double().where(counted, 0.0).cumsum(dim=1)[:, -1].contiguous()

    def measure(self, results: Tensor) -> LanguageMetrics:
        """Figures from the sums of all blocks, float64 [blocks].

        Raises:
            VerificationError: a loss is not a finite number, or far from any language.
        """
        return measure_language(results, self.targets)


def _numbers(batch: int, size: int, total: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.arange(batch * size, min((batch + 1) * size, total), dtype=np.int64)
