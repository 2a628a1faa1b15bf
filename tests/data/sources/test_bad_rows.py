"""Rows that are no documents: blank ones are skipped, bad ones refused or dropped, all counted."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow  # type: ignore[import-untyped]
import pytest
from pyarrow import parquet

from retort.core.config import load_recipe
from retort.core.errors import ConfigError, DataError
from retort.data.config import CorpusConfig
from retort.data.corpus.corpus import survey
from retort.data.corpus.report import render
from retort.data.reading.workers import LocalWorkers
from retort.data.sources.pieces import cut
from retort.data.sources.read import decoder_of, documents_of, stream_documents


def config(source: str, file: Path, **keys: Any) -> CorpusConfig:
    top = {
        key: keys.pop(key)
        for key in ("labels", "bad_rows", "bad_rows_limit", "not_utf8", "held_out")
        if key in keys
    }
    files = {"paths": [str(file)], "label": "label", **keys}
    return CorpusConfig.model_validate({"source": source, "files": files, **top})


JSONL: dict[bytes, str | None] = {
    b'{"text": "one", "label": "a"}': None,
    b"not json": "not JSON",
    b"[1]": "not a JSON object",
    b'{"text": 5, "label": "a"}': "'text' is not text",
    b'{"text": null, "label": "a"}': "'text' is not text",
    b'{"label": "a"}': "no key 'text'",
    b'{"text": "x"}': "no key 'label'",
    b'{"text": "x", "label": ""}': "label not a word",
    b'{"text": "x", "label": 1.5}': "label not a word",
    b'{"text": "x", "label": "\\ud800"}': "label not UTF-8",
    b'{"text": "x", "label": "c"}': "label not allowed",
    b'{"text": "\0", "label": "a"}': "binary: a NUL byte",
    b'{"text": "two", "label": "b"}': None,
}
CSV: dict[bytes, str | None] = {
    b"one,a": None,
    b"alone": "other number of fields than the header",
    b"x,": "label not a word",
    b"x,\xff": "label not UTF-8",
    b"x,c": "label not allowed",
    b'"x" y,a': "not CSV",
    b"\0,a": "binary: a NUL byte",
    b"two,b": None,
}


@pytest.mark.parametrize(("source", "rows"), [("jsonl", JSONL), ("csv", CSV)])
def test_each_bad_row_is_dropped_and_counted_by_its_reason(
    tmp_path: Path, source: str, rows: dict[bytes, str | None]
) -> None:
    file = tmp_path / "file"
    header = b"text,label\n" if source == "csv" else b""
    file.write_bytes(header + b"\n".join(rows) + b"\n")
    settings = config(source, file, labels=["a", "b"], bad_rows="drop")
    decoder = decoder_of(settings)
    assert [one.text for one in stream_documents(settings, decoder)] == ["one", "two"]
    expected = [reason for reason in rows.values() if reason is not None]
    assert sorted(decoder.tally.bad.elements()) == sorted(expected)
    places = [(what, place.row) for what, place in decoder.tally.places]
    assert places == [
        (reason, number) for number, reason in enumerate(rows.values(), start=1) if reason
    ]
    for row, reason in rows.items():
        file.write_bytes(header + row + b"\n")
        refusing = config(source, file, labels=["a", "b"])
        if reason is not None:
            with pytest.raises(DataError) as caught:
                list(stream_documents(refusing))
            assert str(caught.value).startswith(str(file))
            assert "\n" not in str(caught.value)


def test_bad_rows_of_parquet_are_dropped(tmp_path: Path) -> None:
    labels = [b"a", b"\xff\xfe", b"\xff\xfd", b"a"]
    table = pyarrow.table({"text": [None, "x", "y", "z"], "label": labels})
    parquet.write_table(table, tmp_path / "file")
    settings = config("parquet", tmp_path / "file", bad_rows="drop")
    decoder = decoder_of(settings)
    assert [(one.text, one.label) for one in stream_documents(settings, decoder)] == [("z", "a")]
    assert decoder.tally.bad == {"text is null": 1, "label not UTF-8": 2}


def test_two_binary_labels_do_not_become_one(tmp_path: Path) -> None:
    table = pyarrow.table({"text": ["x", "y"], "label": [b"\xff\xfe", b"\xff\xfd"]})
    parquet.write_table(table, tmp_path / "file")
    with pytest.raises(DataError, match=r"file: row 1: the label is not UTF-8"):
        list(stream_documents(config("parquet", tmp_path / "file")))


@pytest.mark.parametrize("column", ["text", "label"])
def test_a_doubled_column_is_refused_by_name(tmp_path: Path, column: str) -> None:
    names = ["text", "label", column]
    table = pyarrow.Table.from_arrays([pyarrow.array(["x"])] * 3, names=names)
    parquet.write_table(table, tmp_path / "file.parquet")
    (tmp_path / "file.csv").write_text(",".join(names) + "\nx,y,z\n")
    for source in ("parquet", "csv"):
        file = tmp_path / f"file.{source}"
        with pytest.raises(DataError, match=rf"{source}: has 2 columns '{column}'; keep one"):
            list(stream_documents(config(source, file)))


def test_more_bad_rows_than_the_limit_are_an_error_wherever_the_file_is_cut(
    tmp_path: Path,
) -> None:
    file = tmp_path / "file"
    rows = [json.dumps({"text": f"text {n}", "label": "ab"[n % 2]}) for n in range(400)]
    rows[5::20] = ["bad"] * 20
    file.write_text("\n".join(rows))
    kept = survey(config("jsonl", file, bad_rows="drop", bad_rows_limit=20)).validation
    assert (kept.documents, dict(kept.rows.dropped)) == (380, {"not JSON": 20})
    assert [one.place.row for one in kept.rows.places] == list(range(6, 401, 20))
    with pytest.raises(DataError, match=r"over 19 such rows: see data\.bad_rows_limit"):
        survey(config("jsonl", file, bad_rows="drop", bad_rows_limit=19))
    assert "rows that are bad were dropped: 20 not JSON" in kept.warnings


def test_rows_are_numbered_alike_in_one_piece_and_in_many(tmp_path: Path) -> None:
    file = tmp_path / "file"
    rows = [json.dumps({"text": f"text {n}", "label": "ab"[n % 2]}) for n in range(40_000)]
    rows[17::5000] = ["bad"] * 8
    rows[18::5000] = [""] * 8
    file.write_text("\n".join(rows) + "\n")
    settings = config("jsonl", file, bad_rows="drop")
    pieces = cut(settings, 100_000)
    assert len(pieces) > 8
    total, blank = 0, 0
    for piece in pieces:
        decoder = decoder_of(settings)
        list(documents_of(settings, piece, decoder))
        total += decoder.tally.bad.total()
        blank += decoder.tally.blank
    assert (total, blank) == (8, 8)
    found = survey(settings, LocalWorkers(2)).validation.rows
    assert found.blank == 8
    assert [one.place.row for one in found.places] == list(range(18, 40_000, 5000))


def test_blank_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    lines = b'\n{"text": "x", "label": "a"}\n \t\r\n{"text": "y", "label": "b"}\n\n'
    (tmp_path / "jsonl").write_bytes(lines)
    (tmp_path / "csv").write_bytes(b"text,label\n\nx,a\n\r\ny,b\n\n")
    for source in ("jsonl", "csv"):
        settings = config(source, tmp_path / source)
        decoder = decoder_of(settings)
        assert [one.text for one in stream_documents(settings, decoder)] == ["x", "y"]
        assert decoder.tally.blank == 3


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_a_line_of_white_space_is_blank_where_rows_have_several_fields(
    tmp_path: Path, delimiter: str
) -> None:
    rows = "text,label\n  \nx,a\n \x0b \r\ny,b\n "
    (tmp_path / "file").write_text(rows.replace(",", delimiter), newline="")
    settings = config("csv", tmp_path / "file", delimiter=delimiter)
    decoder = decoder_of(settings)
    assert [one.text for one in stream_documents(settings, decoder)] == ["x", "y"]
    assert decoder.tally.blank == 3
    (tmp_path / "file").write_text("text\n \nx\n")
    settings = CorpusConfig.model_validate(
        {"source": "csv", "files": {"paths": [str(tmp_path / "file")]}}
    )
    assert [one.text for one in stream_documents(settings)] == [" ", "x"]


@pytest.mark.parametrize(
    ("written", "character"), [("tab", "\t"), ('"\\t"', "\t"), (";", ";"), ("'|'", "|")]
)
def test_fields_may_be_separated_by_another_character(
    tmp_path: Path, written: str, character: str
) -> None:
    file = tmp_path / "file"
    file.write_text(f'text{character}label\n"a, {character}b"{character}x\n')
    (tmp_path / "recipe.yaml").write_text(
        f"source: csv\nfiles: {{paths: ['{file}'], label: label, delimiter: {written}}}\n"
    )
    settings = load_recipe(CorpusConfig, tmp_path / "recipe.yaml", [], tmp_path).config
    found = [(one.text, one.label) for one in stream_documents(settings)]
    assert found == [(f"a, {character}b", "x")]


@pytest.mark.parametrize("written", ["''", "ab", "'\"'", '"\\n"', "7", "[]", '"\\0"'])
def test_what_cannot_separate_fields_is_refused(tmp_path: Path, written: str) -> None:
    (tmp_path / "recipe.yaml").write_text(
        f"source: csv\nfiles: {{paths: [x], delimiter: {written}}}\n"
    )
    with pytest.raises(ConfigError, match=r"files\.delimiter"):
        load_recipe(CorpusConfig, tmp_path / "recipe.yaml", [], tmp_path)


def test_a_delimiter_goes_with_csv(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.files\.delimiter goes with data\.source: csv"):
        config("jsonl", tmp_path, delimiter=";")


def labelled_directory(root: Path) -> Path:
    for label in ("pos", "neg"):
        (root / label).mkdir(parents=True)
        for number in range(30):
            (root / label / f"{number}.txt").write_text(f"{label} text {number}")
    return root


def test_files_that_are_no_documents_are_counted_by_reason(tmp_path: Path) -> None:
    root = labelled_directory(tmp_path / "root")
    (root / ".git").mkdir()
    (root / ".git" / "a.txt").write_text("no document")
    (root / "README.md").write_text("no document")
    (root / "pos" / "A.TXT").write_text("no document")
    (root / "pos" / "deep" / "er").mkdir(parents=True)
    (root / "pos" / "deep" / "er" / "a.txt").write_text("no document")
    (root / "pos" / "deep" / "b.txt").write_text("no document")
    (root / "pos" / "loop").symlink_to(root)
    settings = CorpusConfig(source="directory", directory=root, held_out=0.3)
    corpus = survey(settings)
    assert [one.label for one in corpus.validation.labels] == ["neg", "pos"]
    assert corpus.validation.rows.files_left_out == {
        "beside the labels' directories": 1,
        "deeper than <label>/*.txt": 3,
        "hidden, beside the labels": 1,
        "of a name that does not end in .txt": 1,
    }
    assert any(
        "files that are no documents were left out" in one for one in corpus.validation.warnings
    )
    assert "deeper than" in render(corpus)


def test_a_fifo_is_refused_and_nobody_waits_for_it(tmp_path: Path) -> None:
    root = labelled_directory(tmp_path / "root")
    os.mkfifo(root / "pos" / "x.txt")
    with pytest.raises(DataError, match=r"pos/x\.txt: cannot be read: is not a file but"):
        cut(CorpusConfig(source="directory", directory=root))
    for path in ("x.txt", "*.txt"):
        with pytest.raises(DataError, match=r"pos/x\.txt: cannot be read: is not a file but"):
            cut(config("csv", root / "pos" / path))
    os.unlink(root / "pos" / "x.txt")
    os.mkfifo(root / "pos" / "pipe")
    assert survey(CorpusConfig(source="directory", directory=root, held_out=0.3))


def test_names_that_are_not_utf8_are_one_line_or_written_as_bytes(tmp_path: Path) -> None:
    root = labelled_directory(tmp_path / "root")
    odd = os.fsencode(root / "pos") + b"/lat\xff\n.txt"
    with open(odd, "wb") as file:
        file.write(b"caf\xe9 is Latin-1")
    corpus = survey(CorpusConfig(source="directory", directory=root, held_out=0.3))
    assert corpus.validation.encodings.places[0].file == r"pos/lat\xff\n.txt"
    assert corpus.validation.to_json()
    assert r"pos/lat\xff\n.txt" in render(corpus)
    os.rename(root / "neg", os.fsencode(root) + b"/\xffneg")
    with pytest.raises(DataError, match=r"root/\\xffneg/.*: the label is not UTF-8"):
        survey(CorpusConfig(source="directory", directory=root, held_out=0.3))
    settings = CorpusConfig(source="directory", directory=root, bad_rows="drop")
    decoder = decoder_of(settings)
    assert {one.label for one in stream_documents(settings, decoder)} == {"pos"}
    assert set(decoder.tally.bad) == {"label not UTF-8"}


def test_half_a_surrogate_pair_in_a_label_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text('{"text": "x", "label": "\\ud800"}\n')
    with pytest.raises(DataError, match=r"file: row 1: the label is not UTF-8: '\\ud800'"):
        list(stream_documents(config("jsonl", file)))


def test_nothing_that_a_terminal_acts_upon_is_printed(tmp_path: Path) -> None:
    rows = [
        json.dumps(
            {"text": f"text \x1b]0;x\x07 {n} \x9b31m", "label": ["a\x1b[2J", "b\u202e"][n % 2]}
        )
        for n in range(60)
    ]
    (tmp_path / "file.jsonl").write_text("\n".join(rows))
    (tmp_path / "recipe.yaml").write_text(
        f"data:\n  source: jsonl\n  held_out: 0.3\n  files: {{paths: ['{tmp_path}/file.jsonl'], "
        "label: label}\ntokenizer:\n  train: {model: bpe, vocabulary: 260, min_frequency: 1}\n"
    )

    def told(*arguments: str) -> str:
        command = [sys.executable, "-m", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    store = str(tmp_path / "store")
    prepared = told(
        "retort.data.prepare", "--config", str(tmp_path / "recipe.yaml"), "--out", store
    )
    shown = prepared + told("retort.data.inspection.inspect_store", store)
    assert r"a\x1b[2J" in shown
    assert [one for one in shown.split("\n") if not one.isprintable()] == []
