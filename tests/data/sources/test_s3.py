"""Documents in S3, from a real server over HTTP on this machine."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import boto3  # type: ignore[import-untyped]
import pytest
from moto.server import ThreadedMotoServer

from retort.core.errors import DataError
from retort.data.config import CorpusConfig
from retort.data.corpus.corpus import survey
from retort.data.sources.read import stream_documents
from tests.processes.prepare import start, write_recipe
from tests.tiny.store import bert_tokenizer

CSV = "text,label\n" + "".join(f"text {n} of all,{'ab'[n % 2]}\n" for n in range(400))


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # Its contents and its guard belong to the process and not to the server.
    tell(f"http://{host}:{port}", "reset")
    yield f"http://{host}:{port}"
    tell(f"http://{host}:{port}", "reset-auth", b"inf")
    server.stop()


def tell(endpoint: str, what: str, body: bytes = b"") -> None:
    plain = {"Content-Type": "text/plain"}
    urlopen(Request(f"{endpoint}/moto-api/{what}", body, plain, method="POST")).close()


def put(endpoint: str, **contents: str) -> None:
    client = boto3.client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket="bucket")
    for name, content in contents.items():
        client.put_object(Bucket="bucket", Key=f"in/{name}.csv", Body=content.encode())


def config(endpoint: str, *paths: str) -> CorpusConfig:
    files = {
        "paths": paths,
        "label": "label",
        "storage_options": {"endpoint_url": endpoint, "skip_instance_cache": True},
    }
    return CorpusConfig.model_validate({"source": "csv", "files": files})


def test_documents_come_from_s3_in_the_order_of_their_keys(endpoint: str) -> None:
    put(endpoint, b="text,label\nlast,x\n", a="text,label\nfirst,y\n")
    found = stream_documents(config(endpoint, "s3://bucket/in/*.csv"))
    assert [(one.text, one.label) for one in found] == [("first", "y"), ("last", "x")]


def test_a_corpus_in_s3_may_be_read_again_and_gives_the_same(endpoint: str) -> None:
    put(endpoint, all=CSV)
    corpus = survey(config(endpoint, "s3://bucket/in/all.csv"))
    documents = list(corpus.documents())
    assert len(documents) == 400
    assert {one.part for one in documents} == {"train", "held_out"}


def test_a_key_that_cannot_be_read_is_named(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(endpoint, a="text,label\nx,y\n")
    for address, message in [
        ("s3://bucket/in/b.csv", "does not exist"),
        ("s3://nowhere/in/*.csv", "finds no file|does not exist"),
    ]:
        with pytest.raises(DataError, match=message) as caught:
            list(stream_documents(config(endpoint, address)))
        assert str(caught.value).startswith(f"{address}: ")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(DataError, match=r"^s3://bucket/in/a\.csv: cannot be read: .*credentials"):
        list(stream_documents(config(endpoint, "s3://bucket/in/a.csv")))


def test_a_key_that_may_not_be_read_is_named(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put(endpoint, a="text,label\nx,y\n")
    iam = boto3.client("iam", endpoint_url=endpoint)
    iam.create_user(UserName="reader")
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    address = "s3://bucket/in/a.csv"
    assert len(list(stream_documents(config(endpoint, address)))) == 1
    tell(endpoint, "reset-auth", b"0")  # from now on it asks who may do what
    for one in (address, "s3://bucket/in/*.csv"):
        recipe = write_recipe(tmp_path / "recipe", config(endpoint, one), bert_tokenizer())
        process = start(recipe, tmp_path / "out" / "store")
        output, errors = process.communicate()
        assert (process.returncode, output) == (2, ""), errors
        last = errors.splitlines()[-1]
        assert last.startswith(f"error: {one}: cannot be read: ")
        assert re.search("Forbidden|Access Denied|Permission denied|not authorized", last), last
        assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_storage_that_does_not_answer_is_named(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(DataError, match=r"^s3://bucket/a\.csv: cannot be read: .*connect"):
            list(stream_documents(config(nobody, "s3://bucket/a.csv")))
