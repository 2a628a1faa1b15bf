"""A source cut into pieces of any size gives what it gives in one piece, in the same order."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pyarrow  # type: ignore[import-untyped]
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from retort.core.errors import DataError
from retort.data.config import SourceConfig
from retort.data.files.decoding import Decoder
from retort.data.sources.documents import Document
from retort.data.sources.pieces import cut
from retort.data.sources.read import documents_of, stream_documents
from retort.data.sources.text_files import rows_before

SIZES = st.integers(1, 70)
LINE = st.text(st.sampled_from("ab \u00e9\u4e2d\U0001f600\x0b\x0c\x85\u2028\ufeff"), max_size=9)
TEXT = st.lists(st.tuples(LINE, st.sampled_from(["\n", "\r\n", "\n\n", "\r", " \n"])), max_size=9)


def config(source: str, *files: Path, **keys: Any) -> SourceConfig:
    top = {key: keys.pop(key) for key in ("labels", "not_utf8") if key in keys}
    paths = {"paths": [str(file) for file in files], **keys}
    return SourceConfig.model_validate({"source": source, "files": paths, **top})


def whole(config: SourceConfig) -> list[Document]:
    """The documents of each file read from its start to its end."""
    return read(config, 1 << 40)


def read(config: SourceConfig, size: int) -> list[Document]:
    """The documents of all pieces of about `size` bytes, one after the other."""
    return [
        document
        for piece in cut(config, size)
        for document in documents_of(config, piece, Decoder(config.not_utf8))
    ]


def message(config: SourceConfig, size: int) -> str:
    with pytest.raises(DataError) as caught:
        read(config, size)
    return str(caught.value)


def make(root: pytest.TempPathFactory, content: bytes) -> Path:
    file = root.mktemp("pieces") / "file"
    file.write_bytes(content)
    return file


@settings(deadline=None, max_examples=80)
@given(lines=TEXT, end=LINE, mark=st.booleans(), size=SIZES)
@example(lines=[("", "\n")], end="", mark=True, size=1)
@example(lines=[("", "\n\n"), ("a", "\r\n")], end="", mark=False, size=1)
@example(lines=[], end="\U0001f600", mark=True, size=2)
def test_text_cut_anywhere_is_the_same_lines(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[tuple[str, str]],
    end: str,
    mark: bool,
    size: int,
) -> None:
    text = "".join(line + ending for line, ending in lines) + end
    content = (b"\xef\xbb\xbf" if mark else b"") + text.encode()
    settings = config("text", make(tmp_path_factory, content))
    kept = re.sub("^\ufeff", "", content.decode())  # also where the text begins with one
    expected = [line.rstrip("\r\n") for line in re.findall("[^\n]*\n|[^\n]+", kept)]
    assert [one.text for one in whole(settings)] == expected
    assert read(settings, size) == whole(settings)


@settings(deadline=None, max_examples=80)
@given(
    rows=st.lists(st.tuples(LINE, st.booleans(), st.sampled_from(["\n", "\r\n"])), max_size=8),
    closed=st.booleans(),
    mark=st.booleans(),
    size=SIZES,
)
def test_jsonl_cut_anywhere_is_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, bool, str]],
    closed: bool,
    mark: bool,
    size: int,
) -> None:
    lines = [
        json.dumps({"text": text, "label": number}, ensure_ascii=escaped) + ending
        for number, (text, escaped, ending) in enumerate(rows)
    ]
    content = "".join(lines)
    if not closed:
        content = content.rstrip("\r\n")
    file = make(tmp_path_factory, (b"\xef\xbb\xbf" if mark else b"") + content.encode())
    settings = config("jsonl", file, label="label")
    expected = [(text, str(number)) for number, (text, _, _) in enumerate(rows)]
    assert [(one.text, one.label) for one in whole(settings)] == expected
    assert read(settings, size) == whole(settings)


@settings(deadline=None, max_examples=60)
@given(texts=st.lists(LINE, max_size=30), group=st.integers(1, 9), size=st.integers(1, 400))
def test_parquet_cut_between_any_row_groups_is_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], group: int, size: int
) -> None:
    file = tmp_path_factory.mktemp("pieces") / "file"
    table = pyarrow.table({"text": pyarrow.array(texts, pyarrow.string())})
    parquet.write_table(table, file, row_group_size=group)
    settings = config("parquet", file)
    assert [one.text for one in whole(settings)] == texts
    assert read(settings, size) == whole(settings)
    if size == 1 and texts:
        assert len(cut(settings, size)) == -(-len(texts) // group)


@given(
    lines=st.lists(st.sampled_from([b"", b"a", b"abc", b"abcdefg"]), max_size=9),
    starts=st.sets(st.integers(1, 80)),
)
@settings(deadline=None)
def test_rows_before_a_byte_are_counted(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], starts: set[int]
) -> None:
    content = b"".join(line + b"\n" for line in lines) + b"x"
    settings = config("text", make(tmp_path_factory, content))
    begins = [0, *(place + 1 for place, byte in enumerate(content) if byte == ord("\n"))]
    piece, *_ = cut(settings)
    wanted = sorted(start for start in starts if start <= len(content))
    expected = [sum(begin < start for begin in begins) for start in wanted]
    assert rows_before(piece.files[0], wanted) == expected


@pytest.mark.parametrize("size", [1, 7, 40, 1 << 40])
def test_pieces_are_numbered_and_add_up_to_the_source(tmp_path: Path, size: int) -> None:
    (tmp_path / "a").write_text("one\ntwo\nthree\n" * 4)
    (tmp_path / "b").write_text("")
    (tmp_path / "c").write_text("four\n")
    settings = config("text", tmp_path / "a", tmp_path / "b", held_out_paths=[str(tmp_path / "c")])
    pieces = cut(settings, size)
    assert [piece.number for piece in pieces] == list(range(len(pieces)))
    assert sum(piece.share for piece in pieces) == pytest.approx(1.0)
    assert [one.part for one in read(settings, size)] == ["train"] * 12 + ["held_out"]
    assert len(pieces) == 3 if size > 100 else len(pieces) > 3


def _jsonl(count: int, wrong: dict[int, str]) -> bytes:
    rows = [json.dumps({"text": f"text {n}", "label": "ab"[n % 2]}) for n in range(1, count + 1)]
    return "".join(wrong.get(n, row) + "\n" for n, row in enumerate(rows, start=1)).encode()


WRONG = [
    (_jsonl(90, {71: '{"text": "x"'}), "row 71 is not JSON"),
    (_jsonl(90, {88: '{"text": "x", "label": "c"}'}), "row 88: has the label 'c'; allowed: a, b"),
    (_jsonl(90, {33: '{"tekst": "x", "label": "a"}'}), "row 33 has no key 'text'"),
    (_jsonl(90, {}).replace(b"text 60", b"text\xff60"), "row 60: is not UTF-8 at offset 2011:"),
    (_jsonl(90, {90: "\0"}), "row 90: is binary"),
]


@pytest.mark.parametrize(("content", "expected"), WRONG, ids=[71, 88, 33, 60, 90])
def test_an_error_names_the_row_of_the_whole_file_whatever_the_piece(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    (tmp_path / "file").write_bytes(content)
    settings = config(
        "jsonl", tmp_path / "file", label="label", labels=["a", "b"], not_utf8="refuse"
    )
    messages = {message(settings, size) for size in (1, 13, 200, 1000, 1 << 40)}
    assert len(messages) == 1
    assert messages.pop().startswith(f"{tmp_path}/file: {expected}")


def test_an_error_in_a_parquet_file_names_its_row_whatever_the_piece(tmp_path: Path) -> None:
    texts: list[str | None] = [f"text {number}" for number in range(1, 100)]
    texts[76] = None
    parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "file", row_group_size=10)
    settings = config("parquet", tmp_path / "file")
    assert {message(settings, size) for size in (1, 300, 1 << 40)} == {
        f"{tmp_path}/file: row 77: column 'text' is null"
    }


def test_a_parquet_file_without_any_row_group_still_has_to_have_the_column(tmp_path: Path) -> None:
    for column in ("text", "body"):
        with parquet.ParquetWriter(tmp_path / column, pyarrow.schema([(column, pyarrow.string())])):
            pass
    with pytest.raises(DataError, match="text: holds no documents"):
        list(stream_documents(config("parquet", tmp_path / "text")))
    with pytest.raises(DataError, match="body: has no column 'text'; allowed: body"):
        list(stream_documents(config("parquet", tmp_path / "body")))


def test_a_piece_inside_a_line_without_end_reads_no_further_than_it_must(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with file.open("wb") as stream:
        stream.write(b"first\n")
        os.truncate(file, 200 << 20)  # a hole: the rest is one line of 200 MiB
    settings = config("text", file)
    pieces = cut(settings)
    assert len(pieces) == 25
    for piece in pieces[1:]:
        before = _bytes_read()
        assert list(documents_of(settings, piece, Decoder("refuse"))) == []
        assert _bytes_read() - before < 12 << 20


def _bytes_read() -> int:
    """What this process has read from files so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar"))
