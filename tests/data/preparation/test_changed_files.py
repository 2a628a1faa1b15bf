"""A file that changes while it is read is refused: nobody could make the same store again."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retort.core.errors import DataError
from retort.data.config import CorpusConfig
from retort.data.preparation.recipe import TokenizerTraining
from retort.data.preparation.run import prepare_store
from retort.data.preparation.writer import Written, write_store
from retort.data.sources.read import stream_documents

LINES = "".join(f"line {number} of a file\n" for number in range(2000))


def grow(file: Path) -> None:
    with file.open("a") as stream:
        stream.write("one more\n")


def shrink(file: Path) -> None:
    os.truncate(file, 1000)


def rewrite(file: Path) -> None:
    facts = file.stat()
    file.write_text(LINES.upper())
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))


def exchange(file: Path) -> None:
    facts = file.stat()
    other = file.with_name("other")
    other.write_text(LINES.upper())
    os.utime(other, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    other.rename(file)


@pytest.mark.parametrize("change", [grow, shrink, rewrite, exchange, Path.unlink])
@pytest.mark.parametrize("source", ["text", "csv"])
def test_a_file_that_changes_while_it_is_read_is_named(
    tmp_path: Path, source: str, change: Callable[[Path], None]
) -> None:
    file = tmp_path / "file"
    file.write_text("text\n" + LINES)
    config = CorpusConfig.model_validate({"source": source, "files": {"paths": [str(file)]}})
    documents = stream_documents(config)
    next(documents)
    change(file)
    wanted = "does not exist" if change is Path.unlink else "has changed while it was read"
    with pytest.raises(DataError, match=f"file: {wanted}"):
        list(documents)


def test_a_file_that_changes_after_a_tokenizer_was_trained_on_it_is_not_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text(LINES)
    config = CorpusConfig.model_validate({"source": "text", "files": {"paths": [str(file)]}})

    def write_later(*arguments: Any, **keys: Any) -> Written:
        grow(file)
        return write_store(*arguments, **keys)

    monkeypatch.setattr("retort.data.preparation.run.write_store", write_later)
    with pytest.raises(DataError, match="the source has changed since a tokenizer was trained"):
        prepare_store(tmp_path / "store", config, TokenizerTraining(model="bpe", vocabulary=300))
    assert not (tmp_path / "store").exists()
