"""Weights & Biases offline, for real; and what is said when it cannot be had."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import wandb
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

from retort.core.errors import UserError
from retort.train.observe.step import Step
from retort.train.observe.weights_and_biases import WeightsAndBiases


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a login, whose cache and configuration are in the scratch directory."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


def step(number: int) -> Step:
    return Step(number, 1 / number, (1 / number,), 1e-3, 2.0, samples=8, tokens=80)


def open_offline(directory: Path) -> WeightsAndBiases:
    return WeightsAndBiases(
        directory,
        project="retort-tests",
        mode="offline",
        name="tiny",
        config={"train": {"steps": 3}},
    )


def records(file: Path) -> list[Any]:
    """The records of a `.wandb` file: LevelDB's log format, behind seven bytes that name it."""
    content, found, record = file.read_bytes(), [], b""
    place, block = 7, 32768
    assert content[:4] == b":W&B"
    while place + 7 <= len(content):
        if block - place % block < 7:
            place += block - place % block
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece of several
            found.append(Record.FromString(record))
            record = b""
    return found


def test_an_offline_run_holds_its_curves_and_goes_on_under_its_name(tmp_path: Path) -> None:
    first = open_offline(tmp_path)
    first.step(step(1))
    first.evaluation(1, {"accuracy": 0.75})
    first.close()
    again = open_offline(tmp_path)
    again.step(step(2))
    again.close()
    wandb.teardown()  # as at the end of a process: its service has written all of it

    identity = (tmp_path / "wandb" / "retort-run-id").read_text()
    files = sorted(tmp_path.glob(f"wandb/offline-run-*-{identity}*/run-{identity}.wandb"))
    found = [record for file in files for record in records(file)]
    runs = {record.run.run_id for record in found if record.HasField("run")}
    assert runs == {identity}
    history = [
        {item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
        for record in found
        if record.HasField("history")
    ]
    losses = [(row["step"], row["train/loss"]) for row in history if "train/loss" in row]
    assert losses == [(1, 1.0), (2, 0.5)]
    assert [row["step"] for row in history if row.get("evaluation/accuracy") == 0.75] == [1]


def test_another_directory_is_another_run(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        open_offline(tmp_path / name).close()
    identities = {file.read_text() for file in tmp_path.glob("*/wandb/retort-run-id")}
    assert len(identities) == 2


def test_without_a_login_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"logging\.wandb_project 'p': .*wandb_mode=offline"):
        WeightsAndBiases(tmp_path, project="p", mode="online", name="tiny", config={})
