"""A stopped run leaves the batch at fault, and is not resumed into the same step."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from retort.core.errors import StorageError, UserError
from retort.train.observe.step import Step
from retort.train.recipe import DivergenceConfig
from retort.train.run.divergence import DivergenceGuard, Fault, TrainingStopped
from retort.train.run.inspection import refuse_stopped, write_inspection
from retort.train.tasks.inspection import Inspection

SEEN = Inspection(
    {"ids": np.arange(6).reshape(2, 3), "labels": np.array([1, 0])},
    [{"document": 7, "text": "h\u00f6ren"}, {"document": 4, "text": "sehen"}],
)


def fault() -> Fault:
    wrong = Step(17, math.nan, (0.1, 0.2, math.nan, 0.1), 3e-5, math.nan, samples=16, tokens=99)
    with pytest.raises(TrainingStopped) as caught:
        DivergenceGuard(DivergenceConfig()).judge(wrong)
    return caught.value.fault


def test_the_step_and_its_batch_are_written(tmp_path: Path) -> None:
    place = write_inspection(tmp_path, fault(), {2: SEEN})
    assert place == tmp_path / "stopped" / "step-00000017"
    assert {path.name for path in place.iterdir()} == {"reason.json", "shard-2"}
    arrays = load_file(place / "shard-2" / "batch.safetensors")
    assert arrays.keys() == SEEN.arrays.keys()
    assert all(np.array_equal(arrays[name], SEEN.arrays[name]) for name in arrays)
    lines = (place / "shard-2" / "texts.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == SEEN.records
    reason = json.loads((place / "reason.json").read_text())
    assert reason["step"] == 17
    assert reason["shards"] == [2]
    assert reason["losses"] == [0.1, 0.2, "nan", 0.1]
    assert reason["reason"] == "the loss of shard 2 is nan"


def test_a_stopped_run_is_not_resumed_until_someone_says_so(tmp_path: Path) -> None:
    refuse_stopped(tmp_path)
    write_inspection(tmp_path, fault(), {2: SEEN})
    with pytest.raises(UserError) as caught:
        refuse_stopped(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: was stopped at step 17: the loss of shard 2 is nan, and a resume would stop "
        "there again; lower optimizer.lr, lengthen schedule.warmup, or mend the documents, as a "
        f"new run with another --out, or look at {tmp_path}/stopped/step-00000017 and remove "
        f"{tmp_path}/stopped to go on from the last checkpoint all the same"
    )
    shutil.rmtree(tmp_path / "stopped")
    refuse_stopped(tmp_path)


def test_it_is_written_whole_and_again_but_never_over_something_else(tmp_path: Path) -> None:
    for shards in ((1, 2), (2,)):
        place = write_inspection(tmp_path, fault(), dict.fromkeys(shards, SEEN))
    assert [path.name for path in place.glob("shard-*")] == ["shard-2"]
    assert [path.name for path in place.parent.iterdir()] == [place.name]
    (place / "reason.json").unlink()
    with pytest.raises(StorageError, match="holds something else than a stopped step"):
        write_inspection(tmp_path, fault(), {})
