"""The lock files: fully hashed, up to date, and nothing of CUDA in the CPU's."""

import pathlib
import shutil

import pytest

from third_party.requirements.locks import LOCKS, Lock, problems, read_pins

FOLDER = pathlib.Path(__file__).parents[2] / "third_party/requirements"
CPU = LOCKS[0]


@pytest.fixture
def copy(tmp_path: pathlib.Path) -> pathlib.Path:
    """The folder of the locks, to spoil."""
    for path in FOLDER.iterdir():
        if path.suffix in (".in", ".lock", ".toml"):
            shutil.copy(path, tmp_path)
    return tmp_path


def _edit(path: pathlib.Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.chmod(0o644)
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_may_be_used(lock: Lock) -> None:
    assert problems(lock, FOLDER) == []


def test_every_named_package_is_locked() -> None:
    pins = read_pins((FOLDER / "cpu.lock").read_text()) | read_pins(
        (FOLDER / "dev.lock").read_text()
    )
    named = (
        "torch transformers datasets deepspeed fastapi uvicorn pytest black ruff mypy kubernetes"
    )
    assert set(named.split()) <= set(pins)
    assert str(pins["torch"].version) == "2.13.0+cpu"


def test_cpu_and_cuda_differ_in_torch_and_its_libraries_alone() -> None:
    cpu, cuda = (read_pins((FOLDER / f"{name}.lock").read_text()) for name in ("cpu", "cuda"))
    moved = {name for name in cpu.keys() & cuda.keys() if cpu[name].version != cuda[name].version}
    assert moved == {"torch"}
    assert any(name.startswith("nvidia-") for name in cuda)


def test_what_both_the_programs_and_the_tools_use_has_one_version() -> None:
    cpu, dev = (read_pins((FOLDER / f"{name}.lock").read_text()) for name in ("cpu", "dev"))
    assert [
        name for name in cpu.keys() & dev.keys() if cpu[name].version != dev[name].version
    ] == []


def test_a_changed_input_makes_the_lock_out_of_date(copy: pathlib.Path) -> None:
    _edit(copy / "runtime.in", "kubernetes\n", "kubernetes\nnot-locked\n")
    found = "\n".join(problems(CPU, copy))
    assert "cpu.lock is out of date" in found
    assert "cpu.lock lacks not-locked" in found


def test_a_pin_without_a_hash_is_found(copy: pathlib.Path) -> None:
    _edit(copy / "cpu.lock", "aiohttp==", "hashless==1.0\naiohttp==")
    assert "cpu.lock: hashless has no hash" in problems(CPU, copy)


@pytest.mark.parametrize("name", ["nvidia-cublas", "triton", "cuda-bindings"])
def test_cuda_in_the_cpu_lock_is_found(copy: pathlib.Path, name: str) -> None:
    _edit(
        copy / "cpu.lock", "aiohttp==", f"{name}==1.0 \\\n    --hash=sha256:{'0' * 64}\naiohttp=="
    )
    assert f"cpu.lock holds {name}, which has no place in it" in problems(CPU, copy)


def test_a_pin_that_the_input_does_not_allow_is_found(copy: pathlib.Path) -> None:
    _edit(copy / "cpu.lock", "torch==2.13.0+cpu", "torch==2.12.0")
    assert "cpu.lock holds torch 2.12.0, not torch==2.13.0+cpu" in problems(CPU, copy)
