"""What the REST interface answers and refuses, by a real server on real sockets."""

import json
import re
import shlex
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy
import openapi_spec_validator
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator

from retort.core.seal import verify
from retort.models.checkpoint import Checkpoint
from tests.processes.forks import fork_server_for
from tests.serve.running import (
    JSON_TYPE,
    MAX_BODY,
    TEXTS,
    ServerProcess,
    assert_problem,
    begin_request,
    described_text,
    direct,
    read_all,
)
from tests.tiny.checkpoints import LABELS

pytest_plugins = ["tests.serve.fixtures"]
forks = fork_server_for("retort.serve.main", "transformers.models.bert.modeling_bert")
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["text", "x"]), inner, max_size=2),
    max_leaves=5,
)


def test_the_ready_line_shows_a_command_that_works(
    server: ServerProcess, client: httpx.Client, loaded: Checkpoint
) -> None:
    assert loaded.sealed.seal in server.ready
    command = shlex.split(server.ready.partition("try: ")[2])
    assert command[:2] == ["curl", "-sS"]
    content_type, body = command[command.index("-H") + 1], command[command.index("-d") + 1]
    name, _, value = content_type.partition(": ")
    response = client.post(command[2], headers={name: value}, content=body)
    assert response.json() == direct(loaded, json.loads(body)["text"])


def test_health_tells_the_seal_and_the_labels(client: httpx.Client, checkpoint: Path) -> None:
    expected = {
        "status": "ok",
        "seal": verify(checkpoint).seal,
        "labels": list(LABELS),
        "precision": "float32",
    }
    response = client.get("/health")
    assert (response.status_code, response.json()) == (200, expected)


def test_answers_differ_between_texts(client: httpx.Client) -> None:
    answers = [client.post("/predict", json={"text": text}).json() for text in TEXTS]
    assert len({answer["label"] for answer in answers}) > 2
    assert len({answer["confidence"] for answer in answers}) > len(TEXTS) // 2


def test_several_texts_are_answered_as_each_alone_and_a_wrong_one_by_itself(
    client: httpx.Client, loaded: Checkpoint
) -> None:
    texts = [*TEXTS, "word " * 500]
    instances = [{"text": text} for text in (*texts, " ")]
    answered = client.post("/v1/predict", json={"instances": instances})
    assert answered.status_code == 200
    *predictions, refused = answered.json()["predictions"]
    expected = [direct(loaded, text) for text in texts]
    assert [(one["class"], one["probability"]) for one in predictions] == [
        (one["label"], one["confidence"]) for one in expected
    ]
    assert [one["truncated"] for one in predictions] == [False] * len(TEXTS) + [True]
    for one in predictions:
        assert one["probabilities"][one["class"]] == max(one["probabilities"].values())
        assert tuple(one["probabilities"]) == LABELS
    assert refused == {"error": {"status": 422, "detail": "has no token that the model could read"}}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"instances": []}, "#/instances"),
        ({"instances": [{"text": "a"}] * 101}, "#/instances"),
        ({"instances": ["a"]}, "#/instances/0"),
        ({"instances": [{"text": "a"}, {"text": 1}]}, "#/instances/1/text"),
        ({"text": "a"}, "#/instances"),
    ],
)
def test_what_is_no_list_of_texts_is_refused_by_its_place(
    client: httpx.Client, body: object, pointer: str
) -> None:
    assert_problem(client.post("/v1/predict", json=body), 422, f"{pointer}: ")


def test_metrics_count_what_was_answered(client: httpx.Client) -> None:
    def figures() -> dict[str, float]:
        lines = client.get("/metrics").text.splitlines()
        return {
            name: float(value)
            for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
        }

    before = figures()
    client.post("/predict", json={"text": "one"})
    client.post("/v1/predict", json={"instances": [{"text": "two"}, {"text": "a " * 60}]})
    client.post("/predict", json={"text": 1})
    client.get("/whatever/a/client/writes")
    after = figures()
    grown = {name: value - before.get(name, 0.0) for name, value in after.items()}
    assert grown['retort_serve_requests_total{path="/predict",status="200"}'] == 1
    assert grown['retort_serve_requests_total{path="/v1/predict",status="200"}'] == 1
    assert grown['retort_serve_requests_total{path="/predict",status="422"}'] == 1
    assert grown['retort_serve_requests_total{path="other",status="404"}'] == 1
    seal = client.get("/health").json()["seal"]
    labels = f'{{model="classifier",seal="{seal}"}}'
    assert grown[f"retort_serve_texts_total{labels}"] == 3
    assert grown[f"retort_serve_truncated_texts_total{labels}"] == 1
    assert grown[f"retort_serve_workers_lost_total{labels}"] == 0
    assert after[f"retort_serve_workers{labels}"] >= 1
    assert grown['retort_serve_request_seconds_count{path="/predict"}'] == 2
    assert client.get("/live").text == "ok"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text())
@example("猫 and 犬 🙂 на щ")
@example("a\u0000b")
@example("word " * 500)
def test_any_text_is_answered_as_the_model_alone_answers(
    client: httpx.Client, loaded: Checkpoint, text: str
) -> None:
    response = client.post("/predict", json={"text": text})
    tokens = int(loaded.tokenise.encode([text]).mask.sum()) - loaded.tokenise.special
    if tokens and re.search(described_text(client)["pattern"], text):
        assert response.json() == direct(loaded, text)
        confidence = response.json()["confidence"]
        assert float(numpy.float32(confidence)) == confidence, "a float32 came through unchanged"
        assert 1 / len(LABELS) <= confidence <= 1
    else:
        assert_problem(response, 422, "#/text: ")


def test_answers_among_concurrent_requests_are_those_given_alone(
    server: ServerProcess, loaded: Checkpoint
) -> None:
    texts = [f"{text} {number}" for number in range(8) for text in TEXTS]
    expected = [direct(loaded, text) for text in texts]

    def ask(text: str) -> dict[str, str | float]:
        answer = httpx.post(f"{server.url}/predict", json={"text": text}, timeout=None)
        return dict(answer.json())

    with ThreadPoolExecutor(max_workers=16) as pool:
        assert list(pool.map(ask, texts)) == expected


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b'{"text": ""}', 422, "#/text: is empty"),
        (b'{"text": " \\n\\u3000"}', 422, "#/text: is empty"),
        (b'{"text": "\\u200b\\ufeff"}', 422, "#/text: is empty"),
        (b'{"text": 5}', 422, "#/text: Input should be a valid string"),
        (b'{"text": null}', 422, "#/text: Input should be a valid string"),
        (b'{"text": ["a"]}', 422, "#/text: Input should be a valid string"),
        (b"{}", 422, "#/text: Field required"),
        (b'{"text": "a", "a/b": 1}', 422, "#/a~1b: Extra inputs are not permitted"),
        (b"[]", 422, "#: Input should be an object"),
        (b"", 400, "the body is not JSON"),
        (b'{"text": "a"', 400, "the body is not JSON"),
        (b"{'text': 'a'}", 400, "the body is not JSON"),
        (b'{"text": "\xff"}', 400, "the body is not JSON"),
        (b'{"text": "\\ud800"}', 400, "the body is not JSON"),
        (b"[" * 4000, 400, "the body is not JSON"),
    ],
)
def test_a_wrong_body_is_refused_clearly(
    client: httpx.Client, body: bytes, status: int, words: str
) -> None:
    response = client.post("/predict", content=body, headers=JSON_TYPE)
    assert_problem(response, status, words)
    if status == 422:
        [fault] = response.json()["errors"]
        assert f"{fault['pointer']}: {fault['detail']}" == response.json()["detail"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200) | st.text().map(str.encode) | JSON_VALUES.map(json.dumps))
def test_no_body_makes_the_server_fail(client: httpx.Client, body: bytes | str) -> None:
    response = client.post("/predict", content=body, headers=JSON_TYPE)
    assert response.status_code in {200, 400, 422}


def test_many_wrong_places_are_counted_and_the_first_named(client: httpx.Client) -> None:
    body = json.dumps({"text": "a", **{f"{'é' * 15}{number}": 1 for number in range(20)}})
    response = client.post("/predict", content=body, headers=JSON_TYPE)
    assert_problem(response, 422, "; and 12 more")
    assert len(response.json()["errors"]) == 8
    long = client.post(
        "/predict", content=json.dumps({"text": "a", "k" * 3000: 1}), headers=JSON_TYPE
    )
    assert len(long.content) < 500


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"content-encoding": "gzip"}, "the content encoding is gzip; send the body as it is"),
        ({"content-encoding": "identity, br"}, "identity, br"),
        ({"content-type": "application/json; charset=utf-16"}, "the charset is utf-16"),
        ({"content-type": "x" * 9000}, "send content-type: application/json"),
    ],
)
def test_what_is_not_plain_json_is_refused(
    client: httpx.Client, headers: dict[str, str], words: str
) -> None:
    response = client.post("/predict", content=b"{}", headers={**JSON_TYPE, **headers})
    assert_problem(response, 415, words)
    assert len(response.content) < 1000
    assert response.headers["x-content-type-options"] == "nosniff"


def test_utf_8_may_be_said(client: httpx.Client) -> None:
    said = {"content-type": 'Application/JSON; charset="UTF-8"', "content-encoding": "identity"}
    assert client.post("/predict", content=b'{"text": "a"}', headers=said).status_code == 200


def test_what_is_not_called_json_is_refused(client: httpx.Client) -> None:
    assert_problem(client.post("/predict", content=b"{}"), 415, "the content type is missing")
    form = client.post("/predict", data={"text": "a"})
    assert_problem(form, 415, "send content-type: application/json")


def test_other_paths_and_methods_are_refused(client: httpx.Client) -> None:
    assert_problem(client.get("/x"), 404, "try POST /predict, GET /health or GET /ready")
    assert_problem(client.post("/predict/"), 404, "POST /predict/ is not offered")
    assert len(client.get("/" + "a" * 12_000).content) < 1000
    wrong_method = client.get("/predict")
    assert_problem(wrong_method, 405, "GET /predict is not offered")
    assert wrong_method.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/predict", "/live", "/nowhere", "/"])
def test_every_answer_has_a_name_and_the_client_s_own_if_it_gave_one(
    client: httpx.Client, path: str
) -> None:
    names = {client.post(path, json={"text": "a"}).headers["x-request-id"] for _ in range(5)}
    assert len(names) == 5
    own = client.post(path, json={"text": "a"}, headers={"x-request-id": "me-1.b"})
    assert own.headers.get_list("x-request-id") == ["me-1.b"]
    for wrong in ("", "a b", "x" * 129, "<script>"):
        found = client.post(path, json={"text": "a"}, headers={"x-request-id": wrong})
        assert found.headers["x-request-id"] != wrong


def test_the_interface_is_described(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()
    openapi_spec_validator.validate(described)
    responses = described["paths"]["/predict"]["post"]["responses"]
    assert set(responses) == {"200", "400", "408", "413", "415", "422", "429", "500", "503"}
    assert set(responses["413"]["content"]) == {"application/problem+json"}
    model = "/v2/models/{name}"
    version = f"{model}/versions/{{version}}"
    assert set(described["paths"]) == {
        "/",
        *("/v2", "/v2/health/live", "/v2/health/ready"),
        *(f"{one}{end}" for one in (model, version) for end in ("", "/ready", "/infer")),
        "/predict",
        "/v1/predict",
        "/health",
        "/live",
        "/ready",
        "/metrics",
    }


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=JSON_VALUES | st.fixed_dictionaries({"text": st.text(max_size=8)}))
@example(body={"text": ""})
@example(body={"text": "\u2003\x1c\x85\ufeff"})
@example(body={"text": "a" * (MAX_BODY - 10)})
def test_what_the_description_refuses_and_allows_the_server_does(
    client: httpx.Client, loaded: Checkpoint, body: object
) -> None:
    described = client.get("/openapi.json").json()
    response = client.post("/predict", content=json.dumps(body), headers=JSON_TYPE)
    try:
        json.dumps(body, allow_nan=False)
    except ValueError:
        assert response.status_code in {400, 422}
        return

    def fits(value: object, schema: str) -> bool:
        place = f"#/components/schemas/{schema}"
        wanted = {"$ref": place, "components": described["components"]}
        return bool(OAS31Validator(wanted).is_valid(value))

    if fits(body, "PredictionRequest"):
        assert isinstance(body, dict)
        tokens = int(loaded.tokenise.encode([body["text"]]).mask.sum()) - loaded.tokenise.special
        assert response.status_code == (200 if tokens else 422)
    else:
        assert response.status_code in {413, 422}
    model = "PredictionResponse" if response.status_code == 200 else "ProblemDetails"
    assert fits(response.json(), model)


def test_the_largest_body_is_read_and_a_larger_one_refused(client: httpx.Client) -> None:
    frame = len(json.dumps({"text": ""}))
    largest = json.dumps({"text": "a" * (MAX_BODY - frame)})
    assert client.post("/predict", content=largest, headers=JSON_TYPE).status_code == 200
    refusal = client.post("/predict", content=largest + " ", headers=JSON_TYPE)
    assert_problem(refusal, 413, f"larger than {MAX_BODY} bytes")


def test_a_body_announced_as_too_large_is_refused_before_it_is_sent(server: ServerProcess) -> None:
    connection, refusal = begin_request(server.address, size=10**9)
    with connection:
        assert refusal.startswith(b"HTTP/1.1 413 ")


def test_a_client_may_go_on_sending_what_was_refused(server: ServerProcess) -> None:
    with socket.create_connection(server.address) as connection:
        head = "POST /predict HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
        connection.sendall(f"{head}content-length: 900000\r\n\r\n".encode())
        refusal = connection.recv(65536)
        for _ in range(9):
            connection.sendall(b" " * 100_000)
        assert (refusal + read_all(connection)).startswith(b"HTTP/1.1 413 ")


def test_an_endless_body_is_refused_while_it_is_read(server: ServerProcess) -> None:
    with socket.create_connection(server.address) as connection:
        head = b"POST /predict HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
        connection.sendall(head + b"transfer-encoding: chunked\r\n\r\n")
        piece = b"400\r\n" + b"a" * 1024 + b"\r\n"
        for _ in range(MAX_BODY // 1024 + 1):
            connection.sendall(piece)
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 "), "the body has not ended"
        with pytest.raises(OSError):
            while True:
                connection.sendall(piece)
