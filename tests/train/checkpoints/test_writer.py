"""Checkpoints appear whole and sealed, or not at all, while training goes on."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from retort.core.seal import sealing, verify
from retort.models.description import KIND
from retort.train.checkpoints.tensor_file import TensorSpec
from retort.train.checkpoints.writer import CheckpointWriter, NotFinite, State
from retort.train.engines.engine import File, TensorSlice
from retort.train.processes.world import World
from tests.tiny.small_disk import IN_A_NAMESPACE, may_mount

ALONE = World(0, 1, 0, torch.device("cpu"))
INPUTS, CONFIG = {"tokens": "sha256:0"}, {"train": {"steps": 3}}
FILES = {"config.json": b"{}", "tokenizer.json": b"[]"}
WHOLE: tuple[File, ...] = ("model", "optimizer")
_FULL = """
import sys
from pathlib import Path
import torch
from retort.core.errors import StorageError
from retort.train.checkpoints.writer import CheckpointWriter, State
from retort.train.engines.engine import TensorSlice
from retort.train.checkpoints.tensor_file import TensorSpec
from retort.train.processes.world import World
run = Path(sys.argv[1])
def save(name, length):
    tensors = {"model": {"weight": TensorSpec(torch.float32, (length,))}}
    slices = lambda: iter([TensorSlice("model", "weight", 0, torch.ones(length))])
    state = State({}, {}, {}, tensors, slices)
    with CheckpointWriter(World(0, 1, 0, torch.device("cpu")), state) as writer:
        writer.begin(run / name, ["model"])
try:
    save("small", 100)
    save("large", 1 << 20)
except StorageError as error:
    print(error)
print(sorted(path.name for path in run.iterdir()))
"""


class Tensors:
    """Two files of tensors that training changes."""

    def __init__(self) -> None:
        self.files: dict[File, dict[str, Tensor]] = {
            "model": {
                "weight": torch.randn(10, 3),
                "bias": torch.randn(7),
                "count": torch.tensor(2),
            },
            "optimizer": {"exp_avg.weight": torch.randn(10, 3)},
        }

    def slices(self) -> Iterator[TensorSlice]:
        """Runs of at most four elements, the last one first."""
        for file, tensors in self.files.items():
            for name, tensor in tensors.items():
                flat = tensor.view(-1)
                for offset in reversed(range(0, len(flat), 4)):
                    yield TensorSlice(file, name, offset, flat[offset : offset + 4])

    def change(self) -> None:
        for tensors in self.files.values():
            for tensor in tensors.values():
                tensor.add_(1)

    def writer(self) -> CheckpointWriter:
        specs = {
            file: {name: TensorSpec.of(one) for name, one in tensors.items()}
            for file, tensors in self.files.items()
        }
        return CheckpointWriter(ALONE, State(INPUTS, CONFIG, FILES, specs, self.slices))

    def saved(self) -> dict[str, bytes]:
        return {
            f"{file}.safetensors": save(tensors, metadata={"format": "pt"})
            for file, tensors in self.files.items()
        }


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_has_the_seal_of_the_same_files_written_at_leisure(tmp_path: Path) -> None:
    tensors = Tensors()
    with sealing(tmp_path / "plain", kind=KIND, inputs=INPUTS, config=CONFIG) as folder:
        for name, content in {**FILES, **tensors.saved()}.items():
            (folder / name).write_bytes(content)
    with tensors.writer() as writer:
        writer.begin(tmp_path / "step", WHOLE)
    assert verify(tmp_path / "step", kind=KIND).seal == verify(tmp_path / "plain").seal
    assert left_in(tmp_path) == ["plain", "step"]


def test_what_training_changes_meanwhile_is_not_in_it(tmp_path: Path) -> None:
    tensors = Tensors()
    with tensors.writer() as writer:
        for name in ("one", "two", "three"):
            before = tensors.saved()
            writer.begin(tmp_path / name, WHOLE)
            tensors.change()
            writer.finish()
            sealed = verify(tmp_path / name)
            assert {file: sealed.read(file) for file in before} == before
    assert verify(tmp_path / "one").seal != verify(tmp_path / "two").seal


def test_a_file_that_is_not_asked_for_is_left_out(tmp_path: Path) -> None:
    tensors = Tensors()
    with tensors.writer() as writer:
        writer.begin(tmp_path / "step", ["model"])
    assert left_in(tmp_path / "step") == sorted([*FILES, "manifest.json", "model.safetensors"])
    assert load_file(tmp_path / "step" / "model.safetensors")["count"] == 2


def test_the_next_one_begins_when_the_one_before_is_sealed(tmp_path: Path) -> None:
    tensors = Tensors()
    told: list[str] = []

    def tell(target: Path) -> None:
        told.append(verify(target).path.name)

    with tensors.writer() as writer:
        for name in ("one", "two"):
            target = tmp_path / name
            writer.begin(target, WHOLE, on_sealed=partial(tell, target))
            assert told == ([] if name == "one" else ["one"])
    assert told == ["one", "two"], "each is told once, when it is there"


def test_it_has_no_name_until_it_is_sealed(tmp_path: Path) -> None:
    tensors = Tensors()
    with tensors.writer() as writer:
        writer.begin(tmp_path / "step", WHOLE)
        while not writer.written:
            pass
        assert not (tmp_path / "step").exists()
        assert all(name.startswith(".step.") for name in left_in(tmp_path))
        writer.seal()
        writer.finish()
        assert verify(tmp_path / "step").kind == KIND


def test_an_error_leaves_nothing_of_one_that_is_not_complete(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Tensors().writer() as writer:
        writer.begin(tmp_path / "step", WHOLE)
        raise ZeroDivisionError
    assert left_in(tmp_path) == []


def test_an_error_spares_one_that_only_has_to_be_sealed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Tensors().writer() as writer:
        writer.begin(tmp_path / "step", WHOLE)
        while not writer.written:
            pass
        writer.seal()
        raise ZeroDivisionError
    assert verify(tmp_path / "step").kind == KIND
    assert left_in(tmp_path) == ["step"]


def test_to_finish_without_having_begun_is_nothing(tmp_path: Path) -> None:
    with Tensors().writer() as writer:
        assert writer.written
        writer.seal()
        writer.finish()
    assert left_in(tmp_path) == []


def test_a_full_disk_is_one_clear_line_and_what_was_sealed_stays(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if may_mount(disk):
        limited, reason = 'mount -t tmpfs -o size=1m none "$2"', "No space left on device"
        before = IN_A_NAMESPACE
    else:
        limited, reason, before = "ulimit -f 1024", "File too large", []
    command = [*before, "sh", "-c", f'{limited}; exec "$0" -c "$1" "$2"', sys.executable, _FULL]
    done = subprocess.run([*command, str(disk)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"{disk}/large: cannot be written: {reason}; make room or choose another place",
        "['small']",
    ]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("file", "name"), [("model", "bias"), ("model", "weight"), ("optimizer", "exp_avg.weight")]
)
def test_what_is_not_finite_is_not_begun_and_the_next_one_is_as_if_it_had_not_been(
    tmp_path: Path, file: File, name: str
) -> None:
    tensors = Tensors()
    with tensors.writer() as writer:
        tensor = tensors.files[file][name].view(-1)
        before, tensor[-1] = float(tensor[-1]), float("nan")
        with pytest.raises(NotFinite, match=rf"^{name} of {file}\.safetensors is not finite$"):
            writer.begin(tmp_path / "step", WHOLE)
        assert left_in(tmp_path) == []
        tensor[-1] = before
        writer.begin(tmp_path / "step", WHOLE)
    assert {one: verify(tmp_path / "step").read(one) for one in tensors.saved()} == tensors.saved()
