"""Tensor files: the bytes that safetensors writes, whoever fills them in whatever order."""

import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save
from torch import Tensor

from retort.train.checkpoints.tensor_file import TensorFile, TensorSpec
from tests.tiny.small_disk import IN_A_NAMESPACE, may_mount

DTYPES = (
    torch.bool,
    torch.uint8,
    torch.int32,
    torch.int64,
    torch.bfloat16,
    torch.float32,
    torch.float64,
)
NAMES = st.from_regex(r"[a-z0-9_.]{1,12}", fullmatch=True)
SHAPES = st.lists(st.integers(0, 7), max_size=3).map(tuple)
SPECS = st.dictionaries(NAMES, st.builds(TensorSpec, st.sampled_from(DTYPES), SHAPES), max_size=8)
_FILL_UP = """
import sys
from pathlib import Path
import torch
from retort.train.checkpoints.tensor_file import TensorFile, TensorSpec
layout = TensorFile({"weight": TensorSpec(torch.float32, (1 << 20,))})
try:
    layout.create(Path(sys.argv[1]))
except OSError as error:
    print(error.strerror)
"""


def tensors_of(specs: dict[str, TensorSpec], seed: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {
        name: torch.randint(
            2 if spec.dtype == torch.bool else 256,
            (spec.nbytes,),
            dtype=torch.uint8,
            generator=random,
        )
        .view(spec.dtype)
        .view(spec.shape)
        for name, spec in specs.items()
    }


def runs_of(tensors: dict[str, Tensor], chance: Random) -> list[tuple[str, int, Tensor]]:
    """Every tensor cut into runs at random places, all of them in a random order."""
    found = []
    for name, tensor in tensors.items():
        flat = tensor.reshape(-1)
        cuts = sorted(chance.randint(0, len(flat)) for _ in range(chance.randint(0, 3)))
        for start, end in zip([0, *cuts], [*cuts, len(flat)], strict=True):
            found.append((name, start, flat[start:end]))
    chance.shuffle(found)
    return found


def write(path: Path, tensors: dict[str, Tensor], chance: Random, threads: int = 4) -> None:
    layout = TensorFile({name: TensorSpec.of(one) for name, one in tensors.items()})
    layout.create(path)
    assert path.stat().st_size == layout.size
    descriptor = os.open(path, os.O_WRONLY)
    with ThreadPoolExecutor(threads) as pool:
        for run in [
            pool.submit(layout.write, descriptor, *one) for one in runs_of(tensors, chance)
        ]:
            run.result()
    os.close(descriptor)


@settings(deadline=None)
@given(SPECS, st.integers(0, 100), st.randoms(use_true_random=False))
def test_any_tensors_in_any_order_give_the_bytes_of_safetensors(
    tmp_path_factory: pytest.TempPathFactory,
    specs: dict[str, TensorSpec],
    seed: int,
    chance: Random,
) -> None:
    path = tmp_path_factory.mktemp("file") / "model.safetensors"
    tensors = tensors_of(specs, seed)
    write(path, tensors, chance)
    assert path.read_bytes() == save(tensors, metadata={"format": "pt"})


def test_what_was_written_is_what_safetensors_reads(tmp_path: Path) -> None:
    tensors = tensors_of({"weight": TensorSpec(torch.float32, (300, 7))}, 1)
    tensors["weight"].nan_to_num_()
    tensors["count"] = torch.tensor(3)
    write(tmp_path / "model.safetensors", tensors, Random(1))
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], one) for name, one in tensors.items())


def test_a_file_that_was_there_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"x" * 10_000)
    tensors = tensors_of({"weight": TensorSpec(torch.float32, (5,))}, 1)
    write(path, tensors, Random(1))
    assert path.read_bytes() == save(tensors, metadata={"format": "pt"})


def test_a_disk_without_room_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    if not may_mount(tmp_path):
        pytest.skip("no disk can be mounted here; a limit on files stands for it")
    script = f'mount -t tmpfs -o size=1m none "{tmp_path}"; exec "$0" -c "$1" "{tmp_path}/file"'
    command = [*IN_A_NAMESPACE, "sh", "-c", script, sys.executable, _FILL_UP]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "No space left on device\n"


def test_a_limit_on_the_length_of_files_is_told(tmp_path: Path) -> None:
    limit = (1 << 20, 1 << 20)
    done = subprocess.run(
        [sys.executable, "-c", _FILL_UP, str(tmp_path / "file")],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    assert done.stdout == "File too large\n"
