"""Whatever bytes a file of documents holds, it is read, or one line says what is wrong with it."""

import bz2
import csv
import gzip
import io
import itertools
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from retort.core.errors import DataError
from retort.data.config import CorpusConfig
from retort.data.corpus.corpus import survey
from retort.data.sources.read import decoder_of, stream_documents
from retort.data.tokenizers.choose import encoder_for
from tests.tiny.store import bbc_news, bert_tokenizer, byte_level_tokenizer

CASES = 250
SOURCES = ("jsonl", "csv", "text", "parquet")
POLICIES = st.fixed_dictionaries(
    {
        "not_utf8": st.sampled_from(["refuse", "latin-1", "replace", "drop"]),
        "bad_rows": st.sampled_from(["refuse", "drop"]),
        "bad_rows_limit": st.sampled_from([0, 2, 1000]),
    }
)
CHARACTERS = st.characters()  # surrogates too
WORDS = st.one_of(st.text(CHARACTERS, max_size=8), st.sampled_from(["a", "b", "", "\0", "\ufeff"]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=4,
)
ROWS = st.dictionaries(st.sampled_from(["text", "label", "x"]), VALUES, max_size=3)
RAW = st.one_of(
    st.binary(max_size=80),
    st.lists(
        st.sampled_from(
            [
                *(b'{"text":', b'"label":', b'"x"', b'"a"', b"}", b"{", b"[", b"]", b","),
                *(b"text,label", b"text;label", b"\n", b"\r\n", b"\r", b'"', b";", b"\t", b" "),
                *(b"\\ud800", b"\\u0000", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80"),
                *(b"1e999", b"NaN", b"-", b"9" * 400, b"[" * 2000, b'{"a":' * 300),
                *(b"PAR1", b"PK\3\4", b"PK\5\6", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0"),
                *(b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"Rar!\x1a\x07", b"\x1b[31m"),
            ]
        ),
        max_size=14,
    ).map(b"".join),
)


def json_lines(rows: list[Any]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


def comma_separated(rows: list[list[str]]) -> bytes:
    target = io.StringIO(newline="")
    csv.writer(target).writerows([["text", "label"], *rows])
    return target.getvalue().encode("utf-8", "surrogatepass")


COLUMNS: tuple[Callable[[int], Any], ...] = (
    lambda count: pyarrow.array(["caf\u00e9", None, "x", ""][:count]),
    lambda count: pyarrow.array([b"\xff", b"\0", None, b"x"][:count]),
    lambda count: pyarrow.array([1, 2, None, -1][:count]),
    lambda count: pyarrow.array([True, False, None, True][:count]),
    lambda count: pyarrow.array([1.5, float("nan"), None, 2.0][:count]),
    lambda count: pyarrow.array([["x"], [], None, ["y"]][:count]),
    lambda count: pyarrow.array([{"text": "x"}, None, {}, {"text": "y"}][:count]),
    lambda count: pyarrow.array(["a", "b", None, "a"][:count]).dictionary_encode(),
    pyarrow.nulls,
    lambda count: pyarrow.array([b"a", None, b"b", b"c"][:count], pyarrow.binary(1)),
)


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """A Parquet file of columns of any names and types, doubled ones too; perhaps damaged."""
    names = draw(st.lists(st.sampled_from(["text", "label", "x", "\ud800"[:0]]), max_size=4))
    rows = draw(st.integers(0, 4))
    columns = [draw(st.sampled_from(COLUMNS))(rows) for _ in names]
    sink = io.BytesIO()
    table = pyarrow.Table.from_arrays(columns, names=names)
    parquet.write_table(table, sink, row_group_size=2)
    content = bytearray(sink.getvalue())
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 3]))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.sampled_from([len(content), len(content), len(content) // 2]))])


CONTENT: dict[str, st.SearchStrategy[bytes]] = {
    "jsonl": st.one_of(RAW, st.lists(st.one_of(ROWS, VALUES), max_size=5).map(json_lines)),
    "csv": st.one_of(
        RAW,
        RAW.map(lambda rest: b"text,label\n" + rest),
        st.lists(st.lists(WORDS, max_size=3), max_size=5).map(comma_separated),
    ),
    "text": RAW,
    "parquet": st.one_of(RAW, tables()),
}


def zipped(content: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", content)
        archive.writestr("b/c", content)
    return sink.getvalue()


def zstd(content: bytes) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": lambda content: gzip.compress(content, 1),
    "bz2": bz2.compress,
    "xz": lambda content: lzma.compress(content, preset=0),
    "zst": zstd,
    "zip": zipped,
}


def holds(config: CorpusConfig, file: Path) -> None:
    """The documents are read, or one line that names the file says why not."""
    decoder = decoder_of(config)
    try:
        for document in stream_documents(config, decoder):
            document.text.encode("utf-8")
            (document.label or "").encode("utf-8")
    except DataError as error:
        assert str(error).startswith(str(file)), error
        assert str(error).isprintable(), error
        assert len(str(error)) < 2000
    assert decoder.tally.bad.total() <= config.bad_rows_limit + 1


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


NUMBERS = itertools.count()


def written(directory: Path, content: bytes, ending: str = "") -> Path:
    file = directory / f"{next(NUMBERS)}{ending}"
    file.write_bytes(content)
    return file


def config(
    source: str, file: Path, policies: dict[str, Any], label: bool, **files: Any
) -> CorpusConfig:
    values: dict[str, Any] = {"paths": [str(file)], **files}
    if label and source != "text":
        values["label"] = "label"
    return CorpusConfig.model_validate({"source": source, "files": values, **policies})


@pytest.mark.parametrize("source", SOURCES)
@settings(deadline=None, max_examples=CASES)
@given(data=st.data(), policies=POLICIES, label=st.booleans())
def test_any_bytes_are_documents_or_one_line(
    directory: Path, source: str, data: st.DataObject, policies: dict[str, Any], label: bool
) -> None:
    keys: dict[str, Any] = {}
    if source == "csv":
        keys["delimiter"] = data.draw(st.sampled_from([",", "tab", ";", "|", "\u00e9"]))
    if source == "text":
        keys["document"] = data.draw(st.sampled_from(["line", "file"]))
    file = written(directory, data.draw(CONTENT[source]))
    holds(config(source, file, policies, label, **keys), file)
    file.unlink()


@pytest.mark.parametrize("ending", PACK)
@settings(deadline=None, max_examples=CASES)
@given(data=st.data(), source=st.sampled_from(SOURCES), policies=POLICIES)
def test_any_packed_bytes_are_documents_or_one_line(
    directory: Path,
    ending: str,
    data: st.DataObject,
    source: str,
    policies: dict[str, Any],
) -> None:
    content = bytearray(PACK[ending](data.draw(CONTENT[source])))
    for _ in range(data.draw(st.sampled_from([0, 0, 1, 2]))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    file = written(directory, bytes(content), f".{ending}")
    holds(config(source, file, policies, data.draw(st.booleans())), file)
    file.unlink()


TOKENIZERS = [bert_tokenizer(), byte_level_tokenizer(bbc_news()[:50])]
ENCODERS = [encoder_for(definition) for definition in TOKENIZERS]


@settings(deadline=None, max_examples=CASES)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=4))
def test_any_text_has_tokens_of_the_vocabulary(texts: list[str]) -> None:
    for encoder in ENCODERS:
        encoded = encoder.encode(texts)
        assert encoded.lengths.sum() == len(encoded.ids)
        assert encoded.ids.max(initial=0) < encoder.vocabulary_size


@settings(deadline=None, max_examples=100)
@given(rows=st.lists(st.tuples(WORDS, st.sampled_from(["a", "b"])), max_size=40))
def test_any_corpus_is_settled_or_one_line(directory: Path, rows: list[tuple[str, str]]) -> None:
    content = json_lines([{"text": text, "label": label} for text, label in rows])
    file = written(directory, content)
    policies = {"bad_rows": "drop", "held_out": 0.4}
    try:
        facts = survey(config("jsonl", file, policies, label=True)).validation
    except DataError as error:
        assert str(error).isprintable(), error
    else:
        removed = sum(facts.removed.values())
        assert facts.train + facts.held_out + removed == facts.documents
        near = facts.near_duplicates
        assert near is not None
        assert near.compared + near.beyond + near.wordless == facts.train + facts.held_out
    file.unlink()
