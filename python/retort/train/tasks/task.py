"""What is learned, apart from how: batches, their loss, and what held-out documents say."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from retort.data.batches.readers import BlockBatch, TextBatch
from retort.data.store.store import TokenStore
from retort.evaluate.report.document_facts import TokenFacts
from retort.evaluate.report.presentation import Presentation
from retort.evaluate.task import HeldOut, ResultFile
from retort.train.tasks.inspection import Inspection


class Task(Protocol):
    """One model and the token store that it learns from; the same on every rank.

    It brings all that differs between what can be learned: batches and their loss, how it is measured
    on held-out documents, what is said of the figures, and the files of its checkpoint. How the
    checkpoint is read and verified by itself is its `VerifiedTask` in `retort.evaluate.verify`.
    """

    @property
    def model(self) -> nn.Module:
        """On the device that it trains on."""

    @property
    def store(self) -> TokenStore:
        """Verified."""

    @property
    def inputs(self) -> Mapping[str, str]:
        """Digests of what the checkpoint is made from."""

    @property
    def tokens(self) -> TokenFacts | None:
        """How much of the documents the model sees, if it is not all."""

    @property
    def attention(self) -> tuple[int, int]:
        """Number of layers and hidden size."""

    def micro_batch(self, step: int, shard: int) -> Any:
        """What a shard of a step (from 0) is computed from."""

    def inspect(self, step: int, shard: int, tokenizer: Tokenizer) -> Inspection:
        """What a person sees of it.

        Args:
            tokenizer: the store's.
        """

    def loss(self, model: nn.Module, batch: Any, step: int) -> Tensor:
        """The part of each shard of a batch in the loss of its step, float32 [shards].

        The parts of a step add up to its mean loss: each is divided by the weight of the whole
        step, which follows from the step's number.

        Args:
            batch: what `micro_batch` gave, or `joined`.
        """

    @property
    def joined(self) -> Callable[[Sequence[Any]], Any] | None:
        """Makes one batch of the micro-batches of several shards, of which `loss` then gives the loss of each.

        Every such batch has `tokens`, how many they are without padding, and `shards`, where the samples of each begin
        and the last end, int64 [shards + 1]. None where a shard has to be computed by itself.
        """

    def seen(self, step: int) -> int:
        """Tokens of a whole step, padding not counted."""

    @property
    def held_out(self) -> HeldOut:
        """The documents that it is measured on, and how."""

    @property
    def results(self) -> ResultFile:
        """How the results of the held-out documents are kept for the process that verifies."""

    def present(self, measured: Mapping[str, Any]) -> Presentation:
        """What the report and the model card say.

        Args:
            measured: what that process measured, from JSON.
        """

    def files(self, threads: int) -> dict[str, bytes]:
        """Files of the checkpoint besides the weights."""


def shards_of(batch: TextBatch | BlockBatch) -> Tensor | None:
    """Where the samples of each shard begin and the last end, int64 [shards + 1]; None of one shard."""
    return torch.from_numpy(batch.shards) if len(batch.shards) > 2 else None
