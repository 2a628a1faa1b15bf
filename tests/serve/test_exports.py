"""Exports are served as any checkpoint, with the answers that they have in this process."""

from pathlib import Path

import httpx
import pytest

from retort.models.checkpoint import load_checkpoint
from retort.models.config import PrecisionName
from retort.models.description import Calibration
from tests.processes.forks import fork_server_for
from tests.serve.running import TEXTS, ServerProcess, direct, refused
from tests.tiny.checkpoints import write_exported, write_served

forks = fork_server_for("retort.serve.main", "retort.serve.engine.model_process")
CALIBRATION = Calibration(2.5, (0.9, 0.2, 0.3, 0.9))


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_an_export_is_served_in_its_precision_and_by_its_calibration(
    tmp_path: Path, precision: PrecisionName
) -> None:
    source = write_served(tmp_path / "tiny", "portable")
    exported = write_exported(tmp_path / precision, source, precision, CALIBRATION)
    loaded = load_checkpoint(exported)
    expected = [direct(loaded, text) for text in TEXTS]
    with (
        ServerProcess(exported) as server,
        httpx.Client(base_url=server.url, timeout=None) as client,
    ):
        assert client.get("/health").json()["precision"] == precision
        found = [client.post("/predict", json={"text": text}).json() for text in TEXTS]
        body = {"instances": [{"text": text} for text in TEXTS]}
        each = client.post("/v1/predict", json=body).json()["predictions"]
    assert found == expected
    assert [one["class"] for one in each] == [one["label"] for one in expected]
    assert {"unknown"} < {one["label"] for one in expected}


def test_no_other_precision_of_an_export_is_served(tmp_path: Path) -> None:
    source = write_served(tmp_path / "tiny", "portable")
    exported = write_exported(tmp_path / "int8", source, "int8")
    code, [line] = refused(exported, "--precision", "bfloat16")
    assert code == 2
    assert "--precision bfloat16 is not for this checkpoint, which is int8" in line
    code, [line] = refused(source, "--precision", "int8")
    assert code == 2
    assert "//serve:export makes one of int8" in line
