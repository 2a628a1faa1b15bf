"""What is not UTF-8: refused, read in another way or left out; always with its place."""

from pathlib import Path
from typing import get_args

import pyarrow  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from retort.core.errors import DataError
from retort.data.config import DataConfig, FilesConfig, NotUtf8
from retort.data.files.decoding import Decoder, Place, Where
from retort.data.sources.read import stream_documents

BAD = b"caf\xe9 and \xff"
READ: dict[str, list[str]] = {
    "latin-1": ["caf\u00e9 and \u00ff"],
    "replace": ["caf\ufffd and \ufffd"],
    "drop": [],
}


def write(file: Path, source: str) -> int | None:
    """Two documents, of which the second is `BAD`; where its first bad byte stands in the file."""
    if source == "parquet":
        column = pyarrow.array([b"fine", BAD], pyarrow.binary())
        parquet.write_table(pyarrow.table({"text": column}), file)
        return None
    content = {
        "text": b"fine\n" + BAD + b"\n",
        "jsonl": b'{"text": "fine"}\n{"text": "' + BAD + b'"}\n',
        "csv": b'other,text\nx,fine\n"\xc3\xa9 ""q""\ny","' + BAD + b'"\n',
    }[source]
    file.write_bytes(content)
    return content.index(b"caf\xe9") + 3


@pytest.mark.parametrize("policy", get_args(NotUtf8))
@pytest.mark.parametrize("source", ["text", "jsonl", "csv", "parquet"])
def test_what_is_not_utf8_is_treated_as_the_recipe_says(
    tmp_path: Path, source: str, policy: NotUtf8
) -> None:
    offset = write(tmp_path / "file", source)
    config = DataConfig.model_validate(
        {
            "source": source,
            "files": FilesConfig(paths=(str(tmp_path / "*"),)),
            "not_utf8": policy,
            "max_tokens": 8,
        }
    )
    decoder = Decoder(policy)
    if policy == "refuse":
        at = "" if offset is None else f" at offset {offset}"
        with pytest.raises(DataError, match=rf"file: row 2: is not UTF-8{at}: byte 0xe9.*not_utf8"):
            list(stream_documents(config, decoder))
        return
    texts = [one.text for one in stream_documents(config, decoder)]
    assert texts == ["fine", *READ[policy]]
    assert (decoder.tally.not_utf8, decoder.tally.dropped) == (1, int(policy == "drop"))
    assert [place for _, place in decoder.tally.places] == [Place("file", 2, offset)]


def test_bad_bytes_in_columns_before_do_not_move_the_offset(tmp_path: Path) -> None:
    content = b'other,text\n"\xff""\xff","ab""\xfe"\n'
    (tmp_path / "file").write_bytes(content)
    files = FilesConfig(paths=(str(tmp_path / "file"),))
    decoder = Decoder("replace")
    config = DataConfig(source="csv", files=files, not_utf8="replace", max_tokens=8)
    assert [one.text for one in stream_documents(config, decoder)] == ['ab"\ufffd']
    assert [place for _, place in decoder.tally.places] == [
        Place("file", 1, content.index(b"\xfe"))
    ]


@settings(deadline=None)
@given(st.binary(max_size=30).filter(lambda data: b"\0" not in data))
def test_a_text_can_always_be_written_as_utf8(data: bytes) -> None:
    for policy in ("latin-1", "replace", "drop"):
        decoder = Decoder(policy)
        text = decoder.decode(data, Where("a", "b"))
        try:
            assert text == data.decode("utf-8")
            assert decoder.tally.not_utf8 == 0
        except UnicodeDecodeError as error:
            assert [place for _, place in decoder.tally.places] == [Place("b", 0, error.start)]
            assert (text is None) == (policy == "drop")
            assert text is None or text.encode("utf-8")


def test_half_a_surrogate_pair_in_json_is_not_utf8_either(tmp_path: Path) -> None:
    line = b'{"text": "x \\ud83d y \\ud83d\\ude00"}\n'
    (tmp_path / "file").write_bytes(b'{"text": "fine"}\n' + line)
    files = FilesConfig(paths=(str(tmp_path / "file"),))
    for policy, texts in [
        ("replace", ["x \ufffd y \U0001f600"]),
        ("latin-1", ["x \ufffd y \U0001f600"]),
        ("drop", []),
    ]:
        config = DataConfig.model_validate(
            {"source": "jsonl", "files": files, "not_utf8": policy, "max_tokens": 8}
        )
        decoder = Decoder(config.not_utf8)
        assert [one.text for one in stream_documents(config, decoder)] == ["fine", *texts]
        assert [place for _, place in decoder.tally.places] == [Place("file", 2, 17)]
    refusing = DataConfig(source="jsonl", files=files, not_utf8="refuse", max_tokens=8)
    with pytest.raises(DataError, match="row 2: is not UTF-8 at offset 17: half a surrogate pair"):
        list(stream_documents(refusing))
