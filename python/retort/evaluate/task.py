"""What a task brings to be measured: figures that tell themselves, held-out documents, a checkpoint."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from retort.core.digest import open_regular
from retort.core.errors import DataError, shown
from retort.core.seal import Sealed
from retort.data.store.store import TokenStore
from retort.models.config import TaskRules


@dataclass(frozen=True)
class Demands:
    """How good a checkpoint must be. No accuracy is asked of a task that has none."""

    min_accuracy: float = 0.0
    max_loss: float | None = None

    def missed(self, *, accuracy: float | None = None, loss: float) -> str | None:
        """Which of them figures do not meet, or None."""
        if accuracy is not None and accuracy < self.min_accuracy:
            return f"accuracy {accuracy:.4f} is under evaluate.min_accuracy {self.min_accuracy}"
        if self.max_loss is not None and loss > self.max_loss:
            return f"loss {loss:.4f} is over evaluate.max_loss {self.max_loss}"
        return None


class Measured(Protocol):
    """Figures of held-out documents."""

    def figures(self) -> dict[str, float]:
        """What is worth a curve over the steps, by name; `loss` is among them."""

    def to_json(self) -> dict[str, Any]:
        """A JSON object that the task reads back."""

    def line(self) -> str:
        """What matters most, in one line without an end."""

    def missed(self, demands: Demands) -> str | None:
        """Which demand they do not meet, or None."""


class HeldOut(Protocol):
    """The held-out documents of a store as a task reads them, in batches that never change.

    So whoever computes which of them, in whatever order, the results joined in the order of their
    numbers are the same bits.
    """

    @property
    def batches(self) -> int:
        """Number of batches."""

    def results(self, model: nn.Module, number: int) -> Tensor:
        """What the model says of one batch, [documents or blocks, ...], on the CPU.

        Args:
            model: in evaluation mode.
            number: of the batch, from 0.
        """

    def measure(self, results: Tensor) -> Measured:
        """Figures from the results of all batches, joined in their order.

        Raises:
            VerificationError: a result is not a finite number.
        """


def results_of_all(held_out: HeldOut, model: nn.Module) -> Tensor:
    """What a model in evaluation mode says of all batches in their order, by this process alone."""
    return torch.cat([held_out.results(model, number) for number in range(held_out.batches)])


@dataclass(frozen=True)
class ResultFile:
    """Results of all held-out documents, kept for a later comparison bit for bit.

    Attributes:
        name: what they are, such as `logits`; rows: what each row is of, such as `documents`.
        dtype: float32 or float64.
    """

    name: str
    rows: str
    dtype: torch.dtype

    def path(self, directory: Path) -> Path:
        """Where it lies in a run's directory."""
        return directory / f"{self.name}.safetensors"

    def write(self, path: Path, results: Tensor) -> None:
        """Write results, [rows, ...]."""
        path.write_bytes(safetensors.torch.save({self.name: results.contiguous()}))

    def read(self, path: Path) -> Tensor:
        """Read what `write` wrote.

        Raises:
            DataError: the file is missing or is something else.
        """
        try:
            with open_regular(path) as file:
                values = safetensors.torch.load(file.read())[self.name]
        except OSError as error:
            raise DataError(
                f"{shown(path)}: cannot be read as {self.name}: {error.strerror}"
            ) from error
        except (KeyError, SafetensorError) as error:
            raise DataError(
                f"{shown(path)}: cannot be read as {self.name}: {shown(error)}"
            ) from error
        if values.dtype != self.dtype:
            wanted = str(self.dtype).split(".")[-1]
            raise DataError(f"{path}: {self.name} are {values.dtype}, not {wanted}")
        return values

    def difference(self, actual: Tensor, expected: Tensor) -> str | None:
        """In how many rows two results of the same documents differ in a bit; None if in none."""
        if actual.shape != expected.shape:
            return (
                f"{self.name} have shape {list(actual.shape)}, the trained model's "
                f"{list(expected.shape)}"
            )
        bits = torch.int32 if self.dtype == torch.float32 else torch.int64
        rows = (actual.view(bits) != expected.view(bits)).view(len(actual), -1).any(dim=1)
        if rows.any():
            return (
                f"{self.name} of {int(rows.sum())} of {len(actual)} held-out {self.rows} differ from "
                "the trained model's; another kind of processor or library gives other bits"
            )
        return None


LOGITS = ResultFile("logits", "documents", torch.float32)
LOSSES = ResultFile("losses", "blocks", torch.float64)


class TrainedModel(Protocol):
    """A checkpoint that was read: a model in evaluation mode, on the CPU."""

    @property
    def sealed(self) -> Sealed:
        """The verified directory that it came from."""

    @property
    def model(self) -> nn.Module:
        """In float32."""

    @property
    def tokenizer(self) -> bytes:
        """Content of its `tokenizer.json`."""

    @property
    def threads(self) -> int:
        """Number of CPU threads with which its results are the sealed ones."""


Loaded = TypeVar("Loaded", bound=TrainedModel)


@dataclass(frozen=True)
class VerifiedTask(Generic[Loaded]):
    """How checkpoints of one task are verified.

    Attributes:
        rules: what a recipe may ask of it, an accuracy or not.
        file: the results that are compared.
        load: reads a checkpoint that has the given seal, or any if None.
        held_out: the held-out documents as that checkpoint's model reads them, on a device.
    """

    rules: TaskRules
    file: ResultFile
    load: Callable[[Path, str | None], Loaded]
    held_out: Callable[[Loaded, TokenStore, torch.device], HeldOut]
