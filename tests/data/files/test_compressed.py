"""Compressed files are read as what they hold; half of one is refused by name."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from retort.core.errors import DataError
from retort.data.config import CorpusConfig
from retort.data.corpus.corpus import survey
from retort.data.files.decoding import Decoder
from retort.data.sources.pieces import cut
from retort.data.sources.read import stream_documents

TEXTS = [f"text {number} of all, " + "\u00e9" * (number % 7) for number in range(5000)]
CONTENT = {
    "jsonl": "".join(json.dumps({"text": text}) + "\n" for text in TEXTS),
    "csv": "text\n" + "".join(f'"{text}"\n' for text in TEXTS),
    "text": "".join(text + "\n" for text in TEXTS),
}
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


def config(source: str, file: Path) -> CorpusConfig:
    return CorpusConfig.model_validate({"source": source, "files": {"paths": [str(file)]}})


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("source", CONTENT)
def test_a_compressed_file_is_what_it_holds(tmp_path: Path, source: str, ending: str) -> None:
    file = tmp_path / f"file.{ending}"
    file.write_bytes(COMPRESS[ending](CONTENT[source].encode()))
    assert len(cut(config(source, file), 100)) == 1, "it cannot be entered in its middle"
    assert [one.text for one in stream_documents(config(source, file))] == TEXTS


@pytest.mark.parametrize("ending", COMPRESS)
def test_half_a_compressed_file_is_refused_by_name(tmp_path: Path, ending: str) -> None:
    content = COMPRESS[ending](CONTENT["jsonl"].encode())
    for share in (0.3, 0.9):
        file = tmp_path / f"file.jsonl.{ending}"
        file.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(DataError, match=rf"^{file}: cannot be read: ") as caught:
            list(stream_documents(config("jsonl", file)))
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 2


@pytest.mark.parametrize("ending", COMPRESS)
def test_what_is_not_compressed_as_its_name_says_is_refused(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"file.{ending}"
    file.write_text(CONTENT["text"])
    with pytest.raises(DataError, match=rf"^{file}: cannot be read: "):
        list(stream_documents(config("text", file)))


def test_rows_and_offsets_are_those_of_what_is_inside(tmp_path: Path) -> None:
    file = tmp_path / "file.jsonl.gz"
    content = CONTENT["jsonl"].encode()
    line = content.index(b"text 3210 ")
    file.write_bytes(gzip.compress(content[:line] + b"\xff" + content[line + 1 :]))
    decoder = Decoder("latin-1")
    assert len(list(stream_documents(config("jsonl", file), decoder))) == 5000
    assert [(one.row, one.offset) for _, one in decoder.tally.places] == [(3211, line)]


def test_a_file_that_is_read_in_many_chunks_is_one_corpus(tmp_path: Path) -> None:
    words = [" ".join(str(number * step) for step in range(250)) for number in range(3000)]
    lines = [f"{words[number // 2]} {number}" for number in range(6000)]  # 8 MB, each text twice
    content = "\n".join(lines).encode()
    (tmp_path / "file").write_bytes(content)
    (tmp_path / "file.gz").write_bytes(gzip.compress(content, 1))
    plain, packed = (survey(config("text", tmp_path / name)) for name in ("file", "file.gz"))
    assert plain.digest == packed.digest
    assert plain.validation.documents == packed.validation.documents == 6000
    assert len(content) > 2 * (4 << 20), "characters of a chunk"
    assert plain.validation.near_duplicates == packed.validation.near_duplicates
