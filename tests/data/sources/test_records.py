"""Text, JSONL, CSV and Parquet as documents; and every kind of bad file refused by its place."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from retort.core.errors import DataError
from retort.data.config import DataConfig
from retort.data.sources.documents import Document
from retort.data.sources.read import stream_documents

TEXTS = ["plain", 'say "yes", twice', "two\r\nlines\n", "caf\u00e9 \U0001f600", " ", "last"]
ROWS = [(text, ["b", "a"][number % 2]) for number, text in enumerate(TEXTS)]
FIELDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


def config(source: str, *paths: Path | str, **keys: Any) -> DataConfig:
    top = {key: keys.pop(key) for key in ("labels", "not_utf8") if key in keys}
    files = {"paths": [str(path) for path in paths], **keys}
    return DataConfig.model_validate({"source": source, "files": files, "max_tokens": 8, **top})


def read(*arguments: Any, **keys: Any) -> list[tuple[str, str | None]]:
    return [(one.text, one.label) for one in stream_documents(config(*arguments, **keys))]


def write_jsonl(file: Path) -> None:
    lines = [json.dumps({"kind": label, "body": text}) for text, label in ROWS]
    file.write_text("\n".join(lines), encoding="utf-8")


def write_csv(file: Path) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("kind", "other", "body"), *((b, "x", a) for a, b in ROWS)])


def write_parquet(file: Path) -> None:
    columns = {"kind": [label for _, label in ROWS], "body": TEXTS, "other": range(len(ROWS))}
    parquet.write_table(pyarrow.table(columns), file, row_group_size=4)


@pytest.mark.parametrize(
    ("source", "write"), [("jsonl", write_jsonl), ("csv", write_csv), ("parquet", write_parquet)]
)
def test_every_format_gives_the_same_documents(
    tmp_path: Path, source: str, write: Callable[[Path], None]
) -> None:
    write(tmp_path / "file")
    assert read(source, tmp_path / "file", text="body", label="kind") == ROWS
    unlabelled = [(text, None) for text in TEXTS]
    assert read(source, tmp_path / "file", text="body") == unlabelled
    with pytest.raises(DataError, match=r"file: .*has no (column|key) 'text'.*allowed: .*body"):
        read(source, tmp_path / "file", label="kind")


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(st.tuples(FIELDS, FIELDS), min_size=1, max_size=8), mark=st.booleans())
def test_csv_reads_back_whatever_its_writer_wrote(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], mark: bool
) -> None:
    file = tmp_path_factory.mktemp("csv") / "file.csv"
    target = io.StringIO()
    csv.writer(target, quoting=csv.QUOTE_ALL).writerows([("text", "x"), *rows])
    file.write_text(target.getvalue(), "utf-8-sig" if mark else "utf-8", newline="")
    assert [text for text, _ in read("csv", file)] == [text for text, _ in rows]


def test_text_is_a_document_a_line_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_bytes(b"\xef\xbb\xbffirst\r\n\r\nlast \x0c")
    assert read("text", tmp_path / "file.txt") == [("first", None), ("", None), ("last \x0c", None)]
    whole = read("text", tmp_path / "file.txt", document="file")
    assert whole == [("\ufefffirst\r\n\r\nlast \x0c", None)]


def test_numbers_are_labels_and_get_their_names(tmp_path: Path) -> None:
    table = pyarrow.table({"text": ["x", "y"], "label": [1, 0]})
    parquet.write_table(table, tmp_path / "file")
    assert read("parquet", tmp_path / "file", label="label") == [("x", "1"), ("y", "0")]
    names = {0: "World", 1: "Sports"}
    named = read("parquet", tmp_path / "file", label="label", label_names=names)
    assert named == [("x", "Sports"), ("y", "World")]
    with pytest.raises(DataError, match=r"file: row 2: has the label '0', which .* does not name"):
        read("parquet", tmp_path / "file", label="label", label_names={"1": "Sports"})


@pytest.mark.parametrize("kind", ["large_string", "string_view", "binary", "dictionary"])
def test_parquet_may_store_text_in_any_of_its_ways(tmp_path: Path, kind: str) -> None:
    types = {
        "large_string": pyarrow.large_string(),
        "string_view": pyarrow.string_view(),
        "binary": pyarrow.binary(),
        "dictionary": pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
    }
    column = pyarrow.array(["x", "caf\u00e9", "x"]).cast(types[kind])
    parquet.write_table(pyarrow.table({"text": column}), tmp_path / "file")
    assert [text for text, _ in read("parquet", tmp_path / "file")] == ["x", "caf\u00e9", "x"]


BAD: list[tuple[str, bytes, str]] = [
    ("text", b"fine\nelf\x7f\0\1\2", r"row 2: is binary: it has a NUL byte at offset 9"),
    ("jsonl", b'{"text": "x", "label": 1}\n\0\1', r"row 2: is binary.* offset 26"),
    ("csv", b"text,label\nx,a\n\0\1", r"is binary.* offset 15"),
    ("parquet", b"PAR1" + bytes(100), "is not a whole Parquet file"),
    ("parquet", b"", "is not a whole Parquet file"),
    ("csv", b"\x89PNG\xff,\xfe\n", "is not CSV: its header is not UTF-8"),
    ("csv", b"", "is empty; a CSV file begins with a header"),
    ("csv", b"body,label\nx,a\n", r"has no column 'text'; allowed: body, label"),
    ("csv", b"text,label\nx,a\nshort\n", r"row 2, at offset 15, has 1 field; the header has 2"),
    ("csv", b'text,label\n"x\ny",a\n"x" y,a\n', r"row 2, at offset 19, is not CSV: ',' expected"),
    (
        "csv",
        b'text,label\nx,a\n"never closed,a\n',
        r"row 2, at offset 15, is not CSV: unexpected end",
    ),
    ("csv", b"text,label\nx,\n", r"row 1: the label is ''; a word"),
    ("csv", b"text,label\nx,\xff\n", r"row 1: the label is not UTF-8"),
    ("jsonl", b'{"text": "x", "label": 1}\n{"text": "x", \n', r"row 2 is not JSON: Expecting"),
    ("jsonl", b"[1]\n", r"row 1 is not a JSON object"),
    ("jsonl", b'{"text": 5, "label": 1}\n', r"row 1: 'text' is not text but 5"),
    ("jsonl", b'{"text": "x", "lable": 1}\n', r"row 1 has no key 'label'; did you mean lable\?"),
    ("jsonl", b'{"text": "x", "label": 1.5}\n', r"row 1: the label is 1\.5; a word or a whole"),
    ("jsonl", b'{"text": "x", "label": null}\n', r"row 1: the label is None"),
    ("text", b"", "holds no documents"),
    ("csv", b"text,label\n", "holds no documents"),
]


@pytest.mark.parametrize(("source", "content", "message"), BAD)
def test_a_bad_file_is_refused_by_name_and_place(
    tmp_path: Path, source: str, content: bytes, message: str
) -> None:
    (tmp_path / "bad.x").write_bytes(content)
    keys = {} if source == "text" else {"label": "label"}
    with pytest.raises(DataError, match=rf"{tmp_path}/bad\.x: {message}") as caught:
        read(source, tmp_path / "bad.x", **keys)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("source", "start", "message"),
    [
        ("csv", b'text\nx\n"', r"the row at offset 7 is over 16 MiB long; does a quote not end"),
        ("jsonl", b'{"text": "x"}\n{"text": "', r"row 2 is over 16 MiB long; is this a text"),
        ("text", b"x\n", r"row 2 is over 16 MiB long"),
    ],
)
def test_a_row_without_end_is_refused_before_memory_is_full(
    tmp_path: Path, source: str, start: bytes, message: str
) -> None:
    filler = b"a quote that goes on\n" if source == "csv" else b"no end of the line "
    (tmp_path / "file").write_bytes(start + filler * ((17 << 20) // len(filler)))
    with pytest.raises(DataError, match=rf"file: {message}"):
        read(source, tmp_path / "file")


def test_a_file_that_is_one_document_has_a_largest_size(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * ((16 << 20) + 1))
    with pytest.raises(DataError, match=r"file: is one document of over 16 MiB; divide it"):
        read("text", tmp_path / "file", document="file")


def test_half_a_parquet_file_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    table = pyarrow.table({"text": [f"text {number} " * 20 for number in range(2000)]})
    parquet.write_table(table, tmp_path / "whole", row_group_size=100)
    content = (tmp_path / "whole").read_bytes()
    for share in (0.001, 0.5, 0.999):
        (tmp_path / "half").write_bytes(content[: int(share * len(content))])
        with pytest.raises(DataError, match="half: is not a whole Parquet file"):
            read("parquet", tmp_path / "half")
    (tmp_path / "hole").write_bytes(
        content[:4] + bytes(len(content) // 2) + content[4 + len(content) // 2 :]
    )
    with pytest.raises(DataError, match=r"hole: .*is not a whole Parquet file"):
        read("parquet", tmp_path / "hole")


def test_parquet_without_text_is_refused_by_row(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"text": ["x", None]}), tmp_path / "null")
    with pytest.raises(DataError, match="null: row 2: column 'text' is null"):
        read("parquet", tmp_path / "null")
    parquet.write_table(pyarrow.table({"text": [1, 2]}), tmp_path / "number")
    with pytest.raises(
        DataError, match="number: column 'text' is of type int64, which is not text"
    ):
        read("parquet", tmp_path / "number")


def test_parquet_is_refused_in_one_line_for_any_label_and_name(tmp_path: Path) -> None:
    words = pyarrow.array([b"\xff\xfe", b"sport"])
    no_words = pyarrow.StringArray.from_buffers(2, words.buffers()[1], words.buffers()[2])
    late = pyarrow.array([2**31 - 1, 1], pyarrow.int32()).cast(pyarrow.date32())
    for labels, message in (
        (no_words, "row 1: the label is not UTF-8"),
        (no_words.dictionary_encode(), "row 1: the label is not UTF-8"),
        (late, "column 'label' is of type date32"),
        (pyarrow.array([{"a\n": 1}] * 2), "column 'label' is of type struct<a"),
        (pyarrow.array([0.5, 1.0]), "row 1: the label is 0.5"),
    ):
        parquet.write_table(pyarrow.table({"text": ["x", "y"], "label": labels}), tmp_path / "file")
        with pytest.raises(DataError, match=f"file: {message}") as caught:
            read("parquet", tmp_path / "file", label="label")
        assert "\n" not in str(caught.value)
    table = pyarrow.table({"text": ["x"], "other": ["y"]})
    parquet.write_table(table, tmp_path / "file", store_schema=False)
    content = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(content.replace(b"other", b"\xff\xfeher"))
    with pytest.raises(DataError, match="file: is not a whole Parquet file"):
        read("parquet", tmp_path / "file")


def test_a_label_that_is_not_in_the_list_is_named_with_its_row(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text,label\nx,sport\ny,tech\nz,tehc\n")
    arguments = ("csv", tmp_path / "file")
    allowed = ["sport", "tech"]
    with pytest.raises(DataError, match=r"file: row 3: has the label 'tehc'; did you mean tech\?"):
        read(*arguments, label="label", labels=allowed)
    with pytest.raises(DataError, match=r"file: row 1: has the label None"):
        read(*arguments, labels=allowed)


def test_a_source_with_its_own_test_set_says_which_part_a_document_is_in(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x\ny\n")
    (tmp_path / "b").write_text("z\n")
    found = stream_documents(config("text", tmp_path / "a", held_out_paths=[str(tmp_path / "b")]))
    assert list(found) == [
        Document("x", None, "train"),
        Document("y", None, "train"),
        Document("z", None, "held_out"),
    ]
    with pytest.raises(
        DataError, match=r"a: is in data\.files\.paths and in data\.files\.held_out"
    ):
        read("text", tmp_path / "a", held_out_paths=[str(tmp_path / "*")])
