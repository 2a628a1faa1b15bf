"""A run goes on from the newest checkpoint that verifies, and loses none that it may need."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from retort.core.config import differences
from retort.core.digest import JSON
from retort.core.errors import ConfigError, SealError
from retort.core.seal import MANIFEST, Manifest, sealing, verify
from retort.models.description import KIND
from retort.train.checkpoints.progress_record import ProgressRecord
from retort.train.checkpoints.resume import (
    PROGRESS,
    Beginning,
    TensorReader,
    check_same_run,
    checkpoint_path,
    newest_checkpoint,
    remove_leftovers,
    remove_superseded,
)

INPUTS = {"tokens": "sha256:aa", "weights": "sha256:bb"}
CONFIG: dict[str, JSON] = {
    "train": {"steps": 9, "seed": 1, "precision": "float32"},
    "optimizer": {"lr": 0.1, "betas": [0.9, 0.999]},
    "deepspeed": None,
}


def write(run: Path, step: int, *, progress: int | None = None, kind: str = KIND) -> Path:
    path = checkpoint_path(run, step)
    with sealing(path, kind=kind, inputs=INPUTS, config=CONFIG) as folder:
        record = ProgressRecord(step=step if progress is None else progress)
        (folder / PROGRESS).write_bytes(record.to_bytes())
        save_file({"weight": torch.arange(6.0).view(2, 3)}, folder / "model.safetensors")
        save_file({"exp_avg.weight": torch.ones(2, 3)}, folder / "optimizer.safetensors")
    return path


def kept(run: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in (run / "checkpoints").glob("step-*"))


def truncate(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def alter(path: Path) -> None:
    content = bytearray((path / "optimizer.safetensors").read_bytes())
    content[-1] ^= 1
    (path / "optimizer.safetensors").write_bytes(content)


def remove_a_file(path: Path) -> None:
    (path / "optimizer.safetensors").unlink()


def add_a_file(path: Path) -> None:
    (path / "more.bin").write_bytes(b"")


def unseal(path: Path) -> None:
    (path / "manifest.json").unlink()


def cut_the_manifest(path: Path) -> None:
    file = path / "manifest.json"
    file.write_bytes(file.read_bytes()[:50])


def replace_by_a_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncate, "model.safetensors: is truncated"),
        (alter, "optimizer.safetensors: is altered"),
        (remove_a_file, "optimizer.safetensors: is missing"),
        (add_a_file, "more.bin: is not part of this sealed checkpoint"),
        (unseal, "it has no manifest.json"),
        (cut_the_manifest, "manifest.json: is not valid JSON"),
        (replace_by_a_file, "step-00000012"),
    ],
)
def test_a_damaged_checkpoint_is_skipped_and_the_log_says_why(
    damage: Callable[[Path], None], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (4, 8, 12):
        write(tmp_path, step)
    damage(checkpoint_path(tmp_path, 12))
    with caplog.at_level(logging.WARNING):
        found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.progress.step == 8
    assert found.sealed == verify(checkpoint_path(tmp_path, 8))
    assert len(caplog.messages) == 1
    assert "skipped a checkpoint: " in caplog.messages[0]
    assert reason in caplog.messages[0]
    assert "step-00000012" in caplog.messages[0]


def test_a_checkpoint_that_says_another_step_or_is_of_another_kind_is_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, 4)
    write(tmp_path, 8, progress=9)
    write(tmp_path, 12, kind="token-store")
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.progress.step == 4
    assert "is a sealed token-store" in caplog.messages[0]
    assert "step-00000008: is of step 9" in caplog.messages[1]


def test_the_newest_is_that_of_the_highest_step_not_of_the_first_name(tmp_path: Path) -> None:
    for step in (99_999_999, 100_000_000):
        write(tmp_path, step)
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.progress.step == 100_000_000


def test_other_names_are_no_checkpoints(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    path = write(tmp_path, 4)
    for name in ("step-4", "step-00000004.old", ".step-00000004.sealing-1", "best"):
        shutil.copytree(path, path.with_name(name))
    shutil.rmtree(path)
    assert newest_checkpoint(tmp_path) is None


@pytest.mark.parametrize(
    ("keep_last", "best", "left"),
    [
        (1, [], [5]),
        (2, [], [4, 5]),
        (2, [1], [1, 4, 5]),
        (2, [5], [4, 5]),
        (9, [], [1, 2, 3, 4, 5]),
    ],
)
def test_only_what_newer_ones_supersede_is_removed(
    keep_last: int, best: list[int], left: list[int], tmp_path: Path
) -> None:
    for step in range(1, 6):
        write(tmp_path, step)
    remove_superseded(tmp_path, keep_last, best)
    assert kept(tmp_path) == left
    assert len(list((tmp_path / "checkpoints").iterdir())) == len(left), "nothing is left aside"


def test_what_is_not_sealed_is_neither_removed_nor_counted(tmp_path: Path) -> None:
    for step in range(1, 6):
        write(tmp_path, step)
    for step in (2, 5):
        unseal(checkpoint_path(tmp_path, step))
    remove_superseded(tmp_path, 1, [])
    assert kept(tmp_path) == [2, 4, 5]


def test_leftovers_of_a_killed_run_are_removed_and_nothing_else(tmp_path: Path) -> None:
    remove_leftovers(tmp_path)
    path = write(tmp_path, 4)
    for name in (".step-00000008.sealing-0011", ".step-00000001.removing-22", "mine", ".mine"):
        shutil.copytree(path, path.with_name(name))
    remove_leftovers(tmp_path)
    left = {one.name for one in (tmp_path / "checkpoints").iterdir()}
    assert left == {"step-00000004", "mine", ".mine"}


def test_the_same_run_is_no_error_and_every_field_of_another_is_named(tmp_path: Path) -> None:
    manifest = Manifest(KIND, INPUTS, CONFIG, ())
    check_same_run(manifest, INPUTS, CONFIG, tmp_path)
    other: dict[str, JSON] = {
        "train": {"steps": 10, "seed": 1},
        "optimizer": {"lr": 0.1, "betas": [0.9, 0.95]},
        "deepspeed": {"zero_stage": 2},
        "new": True,
    }
    with pytest.raises(ConfigError) as error:
        check_same_run(manifest, {**INPUTS, "weights": "sha256:cc"}, other, tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: belongs to another run: "
        'inputs.weights was "sha256:bb" and is "sha256:cc"; '
        'deepspeed was null and is {"zero_stage": 2}; '
        "new was null and is true; "
        "optimizer.betas was [0.9, 0.999] and is [0.9, 0.95]; "
        'train.precision was "float32" and is null; '
        "train.steps was 9 and is 10; "
        "choose another --out, or add --overwrite to start this one anew"
    )


def test_a_tuple_is_the_list_that_json_makes_of_it() -> None:
    assert list(differences({"betas": (0.9, 0.999)}, {"betas": [0.9, 0.999]})) == []


def test_tensors_are_read_by_file_and_name(tmp_path: Path) -> None:
    read = TensorReader(verify(write(tmp_path, 4)).path)
    assert torch.equal(read("model", "weight"), torch.arange(6.0).view(2, 3))
    assert torch.equal(read("optimizer", "exp_avg.weight"), torch.ones(2, 3))


def test_a_tensor_that_is_not_there_is_named(tmp_path: Path) -> None:
    sealed = verify(write(tmp_path, 4))
    with pytest.raises(SealError, match=r"model\.safetensors: cannot be resumed from: .*bias"):
        TensorReader(sealed.path)("model", "bias")
    (sealed.path / "optimizer.safetensors").unlink()
    with pytest.raises(SealError, match=r"optimizer\.safetensors: cannot be resumed from"):
        TensorReader(sealed.path)("optimizer", "exp_avg.weight")


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("content", ["nan", "inf", "broken header"])
def test_a_checkpoint_that_is_sealed_and_not_sound_is_skipped_by_its_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, content: str
) -> None:
    write(tmp_path, 4)
    path = write(tmp_path, 8)
    files = {file.name: file.read_bytes() for file in path.iterdir() if file.name != MANIFEST}
    with sealing(path, kind=KIND, inputs=INPUTS, config=CONFIG) as folder:
        for file, given in files.items():
            (folder / file).write_bytes(given)
        if content == "broken header":
            (folder / name).write_bytes(b"\xff" * 64)
        else:
            save_file({"bias": torch.tensor([1.0, float(content)])}, folder / name)
    found = newest_checkpoint(tmp_path)
    assert found is not None and found.progress.step == 4
    reason = "cannot be read" if content == "broken header" else "bias is not finite"
    assert f"{name}: {reason}" in caplog.text


def test_a_checkpoint_before_a_step_is_found_though_there_are_later_ones(tmp_path: Path) -> None:
    for step in (4, 8, 12):
        write(tmp_path, step)
    found = newest_checkpoint(tmp_path, before=12)
    assert found is not None and found.progress.step == 8
    assert newest_checkpoint(tmp_path, before=4) is None
    assert kept(tmp_path) == [4, 8, 12]


def test_later_checkpoints_stay_while_steps_before_them_are_made_again(tmp_path: Path) -> None:
    for step in (1, 2, 3, 90, 99):
        write(tmp_path, step)
    remove_superseded(tmp_path, 1, [], newest=3)
    assert kept(tmp_path) == [3, 90, 99]


def test_the_beginning_is_the_model_as_it_is_and_moments_of_zero() -> None:
    model = torch.nn.Linear(3, 2)
    read = Beginning(model)
    assert read("model", "weight").equal(model.weight)
    for moment in ("exp_avg", "exp_avg_sq"):
        assert read("optimizer", f"{moment}.weight").equal(torch.zeros(2, 3))


def test_a_field_of_another_run_is_not_echoed_whole(tmp_path: Path) -> None:
    path = write(tmp_path, 4)
    manifest = verify(path).manifest
    with pytest.raises(ConfigError) as caught:
        check_same_run(manifest, INPUTS, {**CONFIG, "new": "x" * 100_000, "a\nb": 1}, path)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 5000
