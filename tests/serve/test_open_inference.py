"""The Open Inference Protocol, as Triton's own client speaks it."""

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from tritonclient import http as triton  # type: ignore[import-untyped]
from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]

from retort.models.checkpoint import Checkpoint
from retort.models.predict import predict
from tests.processes.forks import fork_server_for
from tests.serve.running import TEXTS, ServerProcess, assert_problem

pytest_plugins = ["tests.serve.fixtures"]
forks = fork_server_for("retort.serve.main", "retort.serve.engine.model_process")

INFER = "/v2/models/classifier/infer"


@pytest.fixture
def triton_client(server: ServerProcess) -> Iterator[Any]:
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as found:
        yield found


def texts_tensor(texts: list[str], *, binary: bool) -> Any:
    tensor = triton.InferInput("text", [len(texts)], "BYTES")
    tensor.set_data_from_numpy(np.array(texts, dtype=object), binary_data=binary)
    return tensor


def test_the_client_finds_the_server_and_its_model(triton_client: Any, loaded: Checkpoint) -> None:
    assert triton_client.is_server_live()
    assert triton_client.is_server_ready()
    seal = loaded.sealed.seal
    for version in ("", seal):
        assert triton_client.is_model_ready("classifier", version)
        told = triton_client.get_model_metadata("classifier", version)
        assert told["versions"] == [seal]
        assert [one["name"] for one in told["inputs"]] == ["text"]
    assert not triton_client.is_model_ready("another")
    assert triton_client.get_server_metadata()["extensions"] == ["binary_tensor_data"]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_answers_have_the_bits_of_the_model(
    triton_client: Any, loaded: Checkpoint, binary_in: bool, binary_out: bool | None
) -> None:
    wanted = None
    if binary_out is not None:
        names = ("probability", "label", "probabilities", "truncated")
        wanted = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in names]
    found = triton_client.infer(
        "classifier",
        [texts_tensor(list(TEXTS), binary=binary_in)],
        outputs=wanted,
        request_id="seven",
        model_version=loaded.sealed.seal,
    )
    told = found.get_response()
    assert (told["id"], told["model_version"]) == ("seven", loaded.sealed.seal)
    expected = predict(loaded, TEXTS)
    labels = [one.decode() if isinstance(one, bytes) else one for one in found.as_numpy("label")]
    assert labels == [one.label for one in expected]
    confidences = np.array([one.confidence for one in expected], np.float32)
    assert found.as_numpy("probability").tobytes() == confidences.tobytes()
    assert found.as_numpy("probabilities").max(axis=1).tobytes() == confidences.tobytes()
    assert not found.as_numpy("truncated").any()


def test_only_what_is_wanted_is_sent(triton_client: Any) -> None:
    wanted = [triton.InferRequestedOutput("label")]
    found = triton_client.infer("classifier", [texts_tensor(["a"], binary=True)], outputs=wanted)
    assert [one["name"] for one in found.get_response()["outputs"]] == ["label"]


def test_the_client_is_told_what_is_wrong(triton_client: Any) -> None:
    def told(*arguments: Any, **more: Any) -> str:
        with pytest.raises(InferenceServerException) as raised:
            triton_client.infer(*arguments, **more)
        return str(raised.value)

    good = [texts_tensor(["a"], binary=True)]
    assert "there is no model another here" in told("another", good)
    assert "has no version 1; it has sha256:" in told("classifier", good, model_version="1")
    assert "is empty" not in told("classifier", [texts_tensor(["a", " "], binary=True)])
    assert "no token that the model could read" in told(
        "classifier", [texts_tensor(["a", " "], binary=False)]
    )
    assert "has 101 texts; send 1 to 100" in told(
        "classifier", [texts_tensor(["a"] * 101, binary=True)]
    )
    unknown = [triton.InferRequestedOutput("logits")]
    assert "is logits; the model gives label" in told("classifier", good, outputs=unknown)
    numbers = triton.InferInput("text", [1], "FP32")
    numbers.set_data_from_numpy(np.ones(1, np.float32))
    assert "is not BYTES" in told("classifier", [numbers])


@pytest.mark.parametrize(
    ("body", "headers", "status", "told"),
    [
        (b"{", {}, 400, "is not JSON"),
        (b"{}", {}, 422, "#/inputs: Field required"),
        (b'{"inputs": []}', {}, 422, "#/inputs"),
        (
            b'{"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}',
            {},
            422,
            "is x",
        ),
        (b"{}", {"inference-header-content-length": "3"}, 400, "is 3, and the body has 2 bytes"),
        (b"{}", {"inference-header-content-length": "-1"}, 400, "is -1, and"),
        (b"{}", {"inference-header-content-length": "²"}, 400, "and the body has"),
        (b"{}", {"content-encoding": "gzip"}, 415, "send the body as it is"),
    ],
)
def test_what_is_no_request_is_told(
    client: httpx.Client, body: bytes, headers: dict[str, str], status: int, told: str
) -> None:
    sent = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answer = client.post(INFER, content=body, headers=sent)
    assert_problem(answer, status, told)
    assert answer.json()["error"] == answer.json()["detail"]
