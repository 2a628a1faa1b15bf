"""What is learned, apart from how: batches, their loss, and what held-out documents say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from retort.data.batches.readers import BlockBatch, TextBatch
from retort.data.store.store import TokenStore
from retort.evaluate.language_metrics import LanguageMetrics
from retort.evaluate.metrics import Metrics
from retort.evaluate.report.document_facts import TokenFacts
from retort.train.recipe import EvaluateConfig


class Task(Protocol):
    """One model and the token store that it learns from; the same on every rank."""

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

    def micro_batch(self, step: int, shard: int) -> TextBatch | BlockBatch:
        """What a shard of a step (from 0) is computed from."""

    def loss(self, model: nn.Module, batch: Any, step: int) -> Tensor:
        """A shard's part of the loss of its step, a float32 scalar.

        The parts of a step add up to its mean loss: each is divided by the weight of the whole
        step, which follows from the step's number.

        Args:
            batch: what `micro_batch` gave.
        """

    def seen(self, step: int) -> int:
        """Tokens of a whole step, padding not counted."""

    @property
    def evaluation_batches(self) -> int:
        """Into how many batches the held-out documents are cut, always in the same way."""

    def evaluate(self, model: nn.Module, number: int) -> Tensor:
        """What the model says of one batch: float32 [documents, labels] or float64 [blocks]."""

    def measure(self, results: Tensor) -> Metrics | LanguageMetrics:
        """Figures from the results of all batches, joined in their order."""

    def write_results(self, directory: Path, results: Tensor) -> None:
        """Write the results of all batches for the process that verifies."""

    def verification(self, directory: Path, config: EvaluateConfig) -> list[str]:
        """Arguments for that process: where the results are, and what is demanded."""

    def read_metrics(self, value: Mapping[str, object]) -> Metrics | LanguageMetrics:
        """What that process measured, from JSON."""

    def files(self, threads: int) -> dict[str, bytes]:
        """Files of the checkpoint besides the weights."""
