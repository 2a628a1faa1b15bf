"""The comparison on a GPU: what it computes from times, and what travels to a machine that has one."""

import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification

from benchmarks.gpu.pack import copy_sources
from benchmarks.gpu.shapes import ENCODERS, Amounts, write_encoder
from benchmarks.gpu.train import (
    CONTRACT,
    DETERMINISTIC,
    PLAIN,
    Subject,
    blocking,
    equal_runs,
    speed,
)
from benchmarks.train import ours
from benchmarks.train.comparison import Comparison
from benchmarks.train.workload import Measured
from tests.tiny.inputs import write_weights

AMOUNTS = Amounts(steps=2, batch=8, shards=2, length=16)


def test_cost_and_utilisation_are_told() -> None:
    runs = {side: [Measured([9.0, 0.5], 8, mfu=0.3)] * 2 for side in (CONTRACT, DETERMINISTIC)}
    runs[PLAIN] = [Measured([9.0, 0.4], 8)] * 2
    section = speed(Comparison(runs, warm_up=1), AMOUNTS, "a model")
    assert [(one.measured, one.reached) for one in section.targets] == [
        ("30.0%", False),
        ("+25.0% time", False),
    ]
    assert f"| {PLAIN} | 20.0 | 1.00 | 37.5% |" in section.text
    assert f"| {CONTRACT} | 16.0 | 0.80 | 30.0% |" in section.text


@pytest.mark.parametrize(
    ("seals", "reached"),
    [("1112", [True, True]), ("1122", [False, False]), ("1111", [True, False])],
)
def test_equal_runs_have_one_seal_and_the_control_another(
    monkeypatch: pytest.MonkeyPatch, seals: str, reached: list[bool]
) -> None:
    left = list(seals)
    monkeypatch.setattr(ours, "run_recipe", lambda *_: Measured([1.0], 8, digest=left.pop(0)))
    section = equal_runs(Subject("a model", Path("recipe"), AMOUNTS, {}), "Seals")
    assert [one.reached for one in section.targets] == reached


def test_what_a_checkpoint_blocks_is_told() -> None:
    section = blocking(Measured([1.0] * 6, 8, shares={"checkpoint": 0.05}), "Checkpoints")
    (target,) = section.targets
    assert (target.measured, target.reached) == ("5.0%, 150 ms each", False)


def test_the_encoder_is_read_as_pretrained_weights(tmp_path: Path) -> None:
    tokenizer = write_weights(tmp_path / "tiny") / "tokenizer.json"
    written = write_encoder(tmp_path / "weights", tokenizer, ENCODERS["tiny"], 16)
    read = AutoModelForSequenceClassification.from_pretrained(tmp_path / "weights", num_labels=3)
    names = dict(read.bert.named_parameters())
    assert all(
        weight.equal(names[name]) for name, weight in written.named_parameters() if name in names
    )


def test_sources_that_travel_are_whole(tmp_path: Path) -> None:
    copy_sources(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from benchmarks.gpu import train\n"
        "from retort.train.run import worker\n"
        "from retort.kernels import library\n"
        "print(train.__file__, worker.__file__, library.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert all(one.startswith(str(tmp_path)) for one in done.stdout.split()), done.stdout
