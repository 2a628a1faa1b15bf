"""The server as it is typed: a fresh process, a real checkpoint, real sockets."""

import itertools
import json
import math
import os
import re
import shlex
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import numpy
import openapi_spec_validator
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from retort.core.forks.client import run
from retort.core.seal import sealing, verify
from retort.data.tokenizers.text_encoder import TextEncoder
from retort.models.checkpoint import Checkpoint, load_checkpoint
from retort.models.classifier import TextClassifier
from retort.models.config import HeadConfig
from retort.models.determinism import fix_arithmetic
from retort.models.predict import predict
from tests.processes.forks import fork_server_for
from tests.processes.ready import ReadyProcess
from tests.tiny.checkpoints import save_checkpoint

forks = fork_server_for("retort.serve.main", "transformers.models.bert.modeling_bert")
LABELS = ("business", "politics", "sport", "tech")
MAX_BODY = 4096
PATIENT = ("--receive-seconds", "3600")
"""Of a server that waits for what a busy client sends."""
JSON_TYPE = {"content-type": "application/json"}
TEXTS = ("shares rose", "the vote was close", "two goals, one win", "новый телефон", "猫 🙂", "x9")
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["text", "x"]), inner, max_size=2),
    max_leaves=5,
)


class ServerProcess(ReadyProcess):
    """`retort.serve.main` in a fresh process."""

    def __init__(self, checkpoint: Path, *options: str, files: int = 1024) -> None:
        limited = ["tests.processes.few_files", str(files), "retort.serve.main"]
        super().__init__([*limited, "--checkpoint", str(checkpoint), "--port", "0", *options])

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)


def refused(checkpoint: Path, *options: str) -> tuple[int, list[str]]:
    """The exit code and the lines of a server that must not start, typed beside the checkpoint."""
    typed_in = {**os.environ, "BUILD_WORKING_DIRECTORY": str(checkpoint.parent)}
    ended = run(["retort.serve.main", "--checkpoint", checkpoint.name, *options], typed_in)
    assert ended.stdout == ""
    return ended.returncode, ended.stderr.splitlines()


def tiny_tokenizer(max_tokens: int) -> TextEncoder:
    """WordPiece that knows single letters alone, so that texts differ in their tokens."""
    letters = "abcdefghijklmnopqrstuvwxyzäöüßéжщ猫犬🙂0123456789.,!?-"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return TextEncoder(tokenizer.to_str().encode(), max_tokens)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed checkpoint of a random classifier whose answers differ from text to text."""
    tokenise = tiny_tokenizer(max_tokens=48)
    torch.manual_seed(6)
    config = BertConfig(
        vocab_size=tokenise.vocabulary_size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=48,
        initializer_range=0.4,
    )
    model = TextClassifier(BertModel(config), HeadConfig(), len(LABELS))
    path = tmp_path_factory.mktemp("checkpoints") / "tiny"
    save_checkpoint(
        path,
        model=model,
        tokenise=tokenise,
        labels=LABELS,
        threads=1,
        inputs={},
        config={"seed": 6},
    )
    return path


@pytest.fixture(scope="module")
def server(checkpoint: Path) -> Iterator[ServerProcess]:
    """One server for all tests of a file that leave it as it was."""
    with ServerProcess(checkpoint, "--max-body", str(MAX_BODY)) as started:
        yield started
        started.signal(signal.SIGTERM)
        assert started.wait() == (0, []), "nothing that the tests did made it complain"


@pytest.fixture(scope="module")
def loaded(checkpoint: Path) -> Checkpoint:
    """The same checkpoint in this process, computed with as many threads."""
    found = load_checkpoint(checkpoint)
    fix_arithmetic(found.threads)
    return found


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=None) as opened:
        yield opened


def direct(loaded: Checkpoint, text: str) -> dict[str, str | float]:
    """What the server must answer: computed here, alone."""
    [prediction] = predict(loaded, [text])
    return {"label": prediction.label, "confidence": prediction.confidence}


def described_text(client: httpx.Client) -> dict[str, str]:
    """What the description of the interface asks of a text."""
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    return dict(schemas["PredictionRequest"]["properties"]["text"])


def assert_problem(response: httpx.Response, status: int, words: str) -> None:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    assert problem["title"]
    assert words in problem["detail"]


def begin_request(address: tuple[str, int], size: int) -> tuple[socket.socket, bytes]:
    """A connection on which a request has begun, its body still to be sent, and what came back.

    The client asks whether to go on, so what comes back says that the server has begun to read.
    """
    connection = socket.create_connection(address)
    head = (
        "POST /predict HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
        f"content-length: {size}\r\nexpect: 100-continue\r\n\r\n"
    )
    connection.sendall(head.encode())
    return connection, connection.recv(65536)


def wait_until_closed(server: ServerProcess) -> None:
    """Connect until nobody listens any more."""
    with suppress(ConnectionError):
        while True:
            socket.create_connection(server.address).close()


def read_all(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


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
    expected = {"status": "ok", "seal": verify(checkpoint).seal, "labels": list(LABELS)}
    response = client.get("/health")
    assert (response.status_code, response.json()) == (200, expected)


def test_answers_differ_between_texts(client: httpx.Client) -> None:
    answers = [client.post("/predict", json={"text": text}).json() for text in TEXTS]
    assert len({answer["label"] for answer in answers}) > 2
    assert len({answer["confidence"] for answer in answers}) > len(TEXTS) // 2


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
    assert_problem(client.get("/"), 404, "try POST /predict, GET /health or GET /ready")
    assert_problem(client.post("/predict/"), 404, "POST /predict/ is not offered")
    assert len(client.get("/" + "a" * 12_000).content) < 1000
    wrong_method = client.get("/predict")
    assert_problem(wrong_method, 405, "GET /predict is not offered")
    assert wrong_method.headers["allow"] == "POST"


def test_the_interface_is_described(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()
    openapi_spec_validator.validate(described)
    responses = described["paths"]["/predict"]["post"]["responses"]
    assert set(responses) == {"200", "400", "408", "413", "415", "422", "500", "503"}
    assert set(responses["413"]["content"]) == {"application/problem+json"}
    assert set(described["paths"]) == {"/predict", "/health", "/ready"}


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


def test_no_request_fails_across_sigterm_for_whoever_asks_whether_it_is_ready(
    checkpoint: Path, loaded: Checkpoint
) -> None:
    """Clients send without a pause, on connections kept and new, until `/ready` says no more."""
    stop, all_begun = threading.Event(), threading.Barrier(9)
    expected = {text: direct(loaded, text) for text in TEXTS}

    def load(url: str, number: int) -> None:
        with httpx.Client(timeout=None) as kept:
            post = kept.post if number % 2 else httpx.post
            for turn in itertools.count():
                text = TEXTS[(number + turn) % len(TEXTS)]
                answer = post(f"{url}/predict", json={"text": text}, timeout=None)
                if (answer.status_code, answer.json()) != (200, expected[text]):
                    all_begun.abort()
                    raise AssertionError(answer.text)
                if turn == 0:
                    all_begun.wait()
                if stop.is_set():
                    return

    with (
        ServerProcess(checkpoint, "--drain-seconds", "30") as server,
        ThreadPoolExecutor(8) as pool,
        httpx.Client(base_url=server.url, timeout=None) as asking,
    ):
        clients = [pool.submit(load, server.url, number) for number in range(8)]
        try:
            all_begun.wait()
            assert asking.get("/ready").status_code == 200
            server.signal(signal.SIGTERM)
            while asking.get("/ready").status_code == 200:
                pass
            assert asking.get("/health").json()["status"] == "draining"
        finally:
            stop.set()
        for client in clients:
            client.result()
        server.signal(signal.SIGTERM)  # no longer than the test has to
        assert server.wait() == (0, [])


def test_sigterm_lets_a_request_finish_after_the_server_has_closed(
    checkpoint: Path, loaded: Checkpoint
) -> None:
    with ServerProcess(checkpoint, "--drain-seconds", "0", *PATIENT) as server:
        body = json.dumps({"text": "in flight"}).encode()
        connection, go_on = begin_request(server.address, len(body))
        with connection:
            assert go_on.startswith(b"HTTP/1.1 100 ")
            server.signal(signal.SIGTERM)
            wait_until_closed(server)
            connection.sendall(body)
            head, _, answer = read_all(connection).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert json.loads(answer) == direct(loaded, "in flight")
        assert server.wait() == (0, [])


def test_health_is_answered_when_more_connect_than_files_may_be_open(checkpoint: Path) -> None:
    with ServerProcess(checkpoint, *PATIENT, files=128) as server:
        crowd = []
        for _ in range(150):
            crowd.append(socket.create_connection(server.address))
            crowd[-1].sendall(b"POST /predict HTTP/1.1\r\nhost: test\r\n")
        assert httpx.get(f"{server.url}/health", timeout=None).status_code == 200
        answer = httpx.post(f"{server.url}/predict", json={"text": "a"}, timeout=None)
        assert answer.status_code == 200
        for slow in crowd:
            slow.close()
        server.signal(signal.SIGINT)
        assert server.wait() == (0, [])


def test_the_seal_that_is_meant_is_served_and_no_other(
    checkpoint: Path, loaded: Checkpoint
) -> None:
    with ServerProcess(checkpoint, "--seal", loaded.sealed.seal) as server:
        assert loaded.sealed.seal in server.ready
    other = "sha256:" + "0" * 64
    code, [line] = refused(checkpoint, "--port", "0", "--seal", other)
    assert code == 2
    assert loaded.sealed.seal in line
    assert other in line


def test_ctrl_c_ends_an_idle_server_without_a_word(checkpoint: Path) -> None:
    with (
        ServerProcess(checkpoint) as server,
        httpx.Client(base_url=server.url, timeout=None) as kept_open,
    ):
        assert kept_open.post("/predict", json={"text": "a"}).status_code == 200
        server.signal(signal.SIGINT)
        assert server.wait() == (0, [])


def test_a_second_ctrl_c_ends_it_at_once_and_says_what_was_lost(checkpoint: Path) -> None:
    with ServerProcess(checkpoint, *PATIENT) as server:
        connection, go_on = begin_request(server.address, size=100)
        with connection:
            assert go_on.startswith(b"HTTP/1.1 100 ")
            server.signal(signal.SIGINT)
            wait_until_closed(server)
            server.signal(signal.SIGINT)
            assert read_all(connection).startswith(b"HTTP/1.1 503 ")
        assert server.wait() == (1, ["error: ended before 1 request was answered"])


@pytest.mark.parametrize("options", [("--finish-seconds", "3600"), ("--finish-seconds", "0")])
def test_clients_that_were_answered_and_stay_end_without_a_word(
    checkpoint: Path, options: tuple[str, ...]
) -> None:
    """One still sends what was refused, one does not read what it asked for."""
    with ServerProcess(checkpoint, "--drain-seconds", "0", *options) as server:
        refused_one, refusal = begin_request(server.address, size=10**9)
        deaf = socket.create_connection(server.address)
        deaf.setblocking(False)
        with refused_one, deaf:
            assert refusal.startswith(b"HTTP/1.1 413 ")
            with pytest.raises(BlockingIOError):
                while True:
                    deaf.send(b"GET /openapi.json HTTP/1.1\r\nhost: test\r\n\r\n" * 100)
            server.signal(signal.SIGTERM)
            if "3600" in options:
                wait_until_closed(server)
                server.signal(signal.SIGTERM)
            assert server.wait() == (0, [])


def test_a_request_cut_off_by_its_time_is_one_line(checkpoint: Path) -> None:
    options = ("--drain-seconds", "0", "--finish-seconds", "0")
    with ServerProcess(checkpoint, *options) as server:
        connection, _ = begin_request(server.address, size=100)
        with connection:
            server.signal(signal.SIGTERM)
            assert read_all(connection).startswith(b"HTTP/1.1 503 ")
        assert server.wait() == (1, ["error: ended before 1 request was answered"])


def test_a_lost_terminal_lets_a_request_finish(checkpoint: Path, loaded: Checkpoint) -> None:
    with ServerProcess(checkpoint, *PATIENT) as server:
        body = json.dumps({"text": "in flight"}).encode()
        connection, _ = begin_request(server.address, len(body))
        with connection:
            server.signal(signal.SIGHUP)
            wait_until_closed(server)
            connection.sendall(body)
            answer = read_all(connection).partition(b"\r\n\r\n")[2]
        assert json.loads(answer) == direct(loaded, "in flight")
        assert server.wait() == (0, [])


def test_a_model_with_a_weight_that_is_not_finite_is_not_served(
    checkpoint: Path, tmp_path: Path
) -> None:
    sealed, copy = verify(checkpoint), tmp_path / "copy"
    for value in (math.nan, -math.inf):
        state = safetensors.torch.load(sealed.read("model.safetensors"))
        name = min(state)
        state[name].view(-1)[0] = value
        with sealing(copy, kind="checkpoint", inputs={}, config={}) as directory:
            for entry in sealed.manifest.files:
                (directory / entry.path).write_bytes(sealed.read(entry.path))
            weights = safetensors.torch.save(state, metadata={"format": "pt"})
            (directory / "model.safetensors").write_bytes(weights)
        code, [line] = refused(copy, "--port", "0")
        assert code == 2
        assert line == f"error: {copy}/model.safetensors: the weight {name} is not finite"
        shutil.rmtree(copy)


def test_a_flipped_byte_is_refused_by_the_name_of_its_file(
    checkpoint: Path, tmp_path: Path
) -> None:
    altered = tmp_path / "altered"
    shutil.copytree(checkpoint, altered)
    weights = altered / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    code, [line] = refused(altered, "--port", "0")
    assert code == 2
    assert line.startswith(f"error: {weights}: is altered")


def test_a_port_in_use_is_one_clear_line(checkpoint: Path, server: ServerProcess) -> None:
    port = server.address[1]
    assert refused(checkpoint, "--port", str(port)) == (
        2,
        [
            f"error: cannot listen on 127.0.0.1:{port}: Address already in use; "
            "choose another --host or --port"
        ],
    )
