"""Writing checkpoints beside training, which waits only until its state is copied.

All ranks begin together. Rank 0 makes the directory and lays out the files; every rank copies what
it holds and a thread of it writes that into the shared files, so nothing is gathered anywhere.
When all are done, a thread of rank 0 hashes and seals. A directory that is not sealed has no name
that a resume would look at, so a kill at any moment loses this checkpoint alone. The ranks must
see one file system.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from types import TracebackType

import torch
from torch import Tensor

from retort.core.atomic import storage_errors
from retort.core.digest import JSON
from retort.core.errors import VerificationError
from retort.core.seal import sealing
from retort.models.checkpoint import not_finite
from retort.models.description import KIND
from retort.train.checkpoints.tensor_file import TensorFile, TensorSpec
from retort.train.engines.engine import File, TensorSlice
from retort.train.processes.world import World

Tensors = Mapping[File, Mapping[str, TensorSpec]]


@dataclass(frozen=True)
class State:
    """What the checkpoints of a run hold.

    Attributes:
        inputs, config: of every checkpoint's seal.
        files: name -> content of the small files (rank 0's count).
        tensors: of each tensor file; `<file>.safetensors` is its name.
        slices: gives what this rank holds of them, as it is now.
    """

    inputs: Mapping[str, str]
    config: Mapping[str, JSON]
    files: Mapping[str, bytes]
    tensors: Tensors
    slices: Callable[[], Iterator[TensorSlice]]


class NotFinite(VerificationError):
    """A state that must not be kept; says which of its tensors holds a NaN or an infinity."""


class CheckpointWriter:
    """Writes one checkpoint at a time. Every method is called by all ranks at the same step."""

    def __init__(self, world: World, state: State) -> None:
        self._world, self._state = world, state
        self._copies: dict[tuple[File, str, int], Tensor] = {}
        self._writing: _Task | None = None
        self._sealing: _Task | None = None
        self._stack = ExitStack()
        self._target: Path | None = None
        self._on_sealed: Callable[[], None] = _nothing

    def begin(
        self,
        target: Path,
        tensors: Sequence[File],
        more: Mapping[str, bytes] | None = None,
        on_sealed: Callable[[], None] | None = None,
    ) -> None:
        """Copy the state and begin to write it; first wait for the checkpoint before this one.

        Args:
            tensors: which of its tensor files.
            more: small files beside those of every checkpoint.
            on_sealed: called in a thread of rank 0.
        Raises:
            NotFinite: nothing is written, on no rank.
            StorageError: the disk is full or permission is missing; what was sealed stays.
        """
        self.finish()
        state = self._state
        layouts: dict[File, TensorFile] = {
            file: TensorFile(state.tensors[file]) for file in tensors
        }
        held = self._finite(tensors)
        folder = None
        if self._world.is_main:
            folder = self._stack.enter_context(
                sealing(target, kind=KIND, inputs=state.inputs, config=state.config)
            )
            with storage_errors(target):
                for name, content in {**state.files, **(more or {})}.items():
                    (folder / name).write_bytes(content)
                for file, layout in layouts.items():
                    layout.create(folder / _name(file))
        folder = self._world.broadcast_object(folder, f"before {target.name} was written")
        assert folder is not None
        copies = [self._copy(part) for part in held]
        if self._world.device.type == "cuda":
            torch.cuda.synchronize(self._world.device)
        self._target = target
        self._on_sealed = on_sealed or _nothing
        self._writing = _Task(lambda: _write(target, folder, layouts, copies))

    def check(self) -> None:
        """Refuse a state that is not finite, on all ranks alike.

        Raises:
            NotFinite: of the first tensor by file and name.
        """
        self._finite(tuple(self._state.tensors))

    @property
    def written(self) -> bool:
        """Whether this rank's part is on its way to the disk and not yet there is nothing left."""
        return self._writing is None or not self._writing.is_alive()

    def seal(self) -> None:
        """Begin to seal, once `written` is true on all ranks.

        Raises:
            StorageError: this rank could not write its part.
        """
        if self._writing is None:
            return
        writing, self._writing = self._writing, None
        writing.result()
        if self._world.is_main:
            stack, self._stack = self._stack, ExitStack()
            on_sealed = self._on_sealed

            def seal() -> None:
                stack.close()
                on_sealed()

            self._sealing = _Task(seal)

    def finish(self) -> None:
        """Wait until the checkpoint that was begun is sealed.

        Raises:
            StorageError: it could not be written.
        """
        if self._target is None:
            return
        if self._writing is not None:
            self._writing.join()
        self._world.barrier(f"{self._target.name} is written")
        self.seal()
        if self._sealing is not None:
            sealing_now, self._sealing = self._sealing, None
            sealing_now.result()
        self._world.barrier(f"{self._target.name} is sealed")
        self._target = None

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """After an error, drop what is not complete and keep what only has to be sealed."""
        if kind is None:
            self.finish()
            return
        for task in (self._writing, self._sealing):
            if task is not None:
                task.join()
        self._stack.__exit__(kind, error, trace)

    def _finite(self, files: Sequence[File]) -> list[TensorSlice]:
        """What this rank holds of some files, as it is finite on all ranks."""
        names = [
            f"{name} of {_name(file)}"
            for file in sorted(files)
            for name in sorted(self._state.tensors[file])
        ]
        held = [part for part in self._state.slices() if part.file in files]
        ordered = sorted(held, key=lambda one: (one.file, one.name))
        found = not_finite((f"{one.name} of {_name(one.file)}", one.values) for one in ordered)
        place = torch.tensor([len(names) if found is None else names.index(found)])
        first = int(self._world.gather(place, "while the state was looked over").min())
        if first < len(names):
            raise NotFinite(f"{names[first]} is not finite")
        return held

    def _copy(self, part: TensorSlice) -> tuple[TensorSlice, Tensor]:
        """The values of a part as they are now, in memory that is used again and again."""
        key = (part.file, part.name, part.offset)
        if key not in self._copies:
            pinned = self._world.device.type == "cuda"
            self._copies[key] = torch.empty(
                part.values.shape, dtype=part.values.dtype, pin_memory=pinned
            )
        self._copies[key].copy_(part.values, non_blocking=True)
        return part, self._copies[key]


def with_moments(weights: Mapping[str, TensorSpec], trained: Iterable[str]) -> Tensors:
    """The tensor files of a whole state.

    Args:
        weights: of the model, by name.
        trained: names of those that AdamW keeps moments of.
    """
    names = tuple(trained)
    moments = {
        f"{moment}.{name}": weights[name] for moment in ("exp_avg", "exp_avg_sq") for name in names
    }
    return {"model": weights, "optimizer": moments}


class _Task(Thread):
    """A call in a thread, whose error is raised where its result is asked for."""

    def __init__(self, call: Callable[[], None]) -> None:
        super().__init__()
        self._call = call
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Thread's."""
        try:
            self._call()
        except BaseException as error:
            self._error = error

    def result(self) -> None:
        """Wait for the call to end.

        Raises:
            BaseException: what the call raised.
        """
        self.join()
        if self._error is not None:
            raise self._error


def _write(
    target: Path,
    folder: Path,
    layouts: Mapping[File, TensorFile],
    copies: Iterable[tuple[TensorSlice, Tensor]],
) -> None:
    with storage_errors(target), ExitStack() as stack:
        descriptors = {}
        for file in layouts:
            descriptors[file] = os.open(folder / _name(file), os.O_WRONLY)
            stack.callback(os.close, descriptors[file])
        for part, values in copies:
            layouts[part.file].write(descriptors[part.file], part.name, part.offset, values)
        for descriptor in descriptors.values():
            os.fsync(descriptor)


def _name(file: File) -> str:
    return f"{file}.safetensors"


def _nothing() -> None:
    pass
