"""Documents as their sources give them: real BBC News, directories, and every oddity counted."""

from pathlib import Path
from typing import Literal

import pytest
from pydantic import ValidationError

from retort.core.errors import DataError
from retort.data.config import CorpusConfig, SourceConfig
from retort.data.corpus.corpus import survey
from retort.data.files.decoding import Decoder
from retort.data.sources.read import stream_documents


def directory(root: Path, not_utf8: Literal["latin-1", "refuse"] = "latin-1") -> SourceConfig:
    return SourceConfig(source="directory", directory=root, not_utf8=not_utf8)


def test_bbc_news_is_what_is_known_of_it() -> None:
    facts = survey(CorpusConfig(source="bbc_news", held_out=0.2)).validation
    assert (facts.documents, facts.encodings.not_utf8) == (2225, 1)
    assert (facts.duplicates, facts.ambiguous, facts.empty) == (98, 0, 0)
    labels = ["business", "entertainment", "politics", "sports", "tech"]
    assert [one.label for one in facts.labels] == labels
    assert (facts.train, facts.held_out) == (1702, 425)
    texts = (one.text for one in stream_documents(SourceConfig(source="bbc_news")))
    assert any("\u00a315.8m" in text for text in texts), "the pound of Latin-1"


def test_documents_keep_their_bytes_and_are_labelled_by_directory(tmp_path: Path) -> None:
    for label, content in [("b", b"line\r\nend\n"), ("a", "caf\u00e9".encode()), ("a", b"caf\xe9")]:
        (tmp_path / label).mkdir(exist_ok=True)
        (tmp_path / label / f"{len(content)}.txt").write_bytes(content)
    (tmp_path / "a" / "ignored.md").write_text("not a document")
    decoder = Decoder("latin-1")
    found = sorted((one.label, one.text) for one in stream_documents(directory(tmp_path), decoder))
    assert found == [("a", "caf\u00e9"), ("a", "caf\u00e9"), ("b", "line\r\nend\n")]
    assert decoder.tally.not_utf8 == 1


def test_a_file_that_is_not_utf8_is_refused_by_name_when_asked(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "odd.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match=r"a/odd\.txt: is not UTF-8.*data\.not_utf8"):
        list(stream_documents(directory(tmp_path, "refuse")))


def test_a_source_without_documents_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing: is not a directory"):
        list(stream_documents(directory(tmp_path / "missing")))
    with pytest.raises(DataError, match="holds no documents"):
        list(stream_documents(directory(tmp_path)))
    (tmp_path / "a" / "looks-like.txt").mkdir(parents=True)
    with pytest.raises(DataError, match=r"looks-like\.txt: cannot be read"):
        list(stream_documents(directory(tmp_path)))


def test_a_directory_goes_with_its_source_only(tmp_path: Path) -> None:
    for source, where in [("directory", None), ("bbc_news", tmp_path)]:
        with pytest.raises(ValidationError, match=r"data\.directory goes with"):
            SourceConfig.model_validate({"source": source, "directory": where})
