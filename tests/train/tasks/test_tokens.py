"""Where a run's tokens come from, and which stores a classifier cannot learn from."""

from pathlib import Path

import pytest

from retort.core.errors import DataError, SealError
from retort.data.config import DataConfig, FilesConfig
from retort.data.sources.documents import Document
from retort.data.store.store import TokenStore
from retort.train.tasks.tokens import make_tokens, open_tokens
from tests.tiny.inputs import write_documents
from tests.tiny.store import bert_tokenizer, documents, write_tiny_store

TOKENIZER = bert_tokenizer()


def stored(path: Path, given: list[Document]) -> DataConfig:
    """A store of documents, as a recipe names it."""
    write_tiny_store(path, given, tokenizer=TOKENIZER)
    return DataConfig(source="token_store", store=path, max_tokens=8)


def opened(config: DataConfig, tokenizer: bytes, target: Path) -> TokenStore:
    """Made if need be, and opened for a classifier."""
    make_tokens(config, tokenizer, target)
    return open_tokens(config, target, tokenizer=tokenizer, labelled=True)


def test_documents_become_a_store_with_its_report(tmp_path: Path) -> None:
    config = DataConfig(
        source="directory",
        directory=write_documents(tmp_path / "documents"),
        held_out=0.2,
        max_tokens=8,
    )
    store = opened(config, TOKENIZER, tmp_path / "tokens")
    assert store.sealed.path == tmp_path / "tokens"
    assert len(store.part("train")) + len(store.part("held_out")) == 60
    assert (tmp_path / "tokens" / "report.html").is_file()
    again = opened(
        DataConfig(source="token_store", store=tmp_path / "tokens", max_tokens=8),
        TOKENIZER,
        tmp_path / "none",
    )
    assert again.sealed == store.sealed
    assert not (tmp_path / "none").exists()


def test_a_store_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    config = stored(tmp_path / "x", documents(60))
    with pytest.raises(DataError, match="x: was made with another tokenizer than the model's"):
        opened(config, bert_tokenizer(lowercase=False), tmp_path / "none")


def test_a_store_without_labels_is_refused(tmp_path: Path) -> None:
    given = [Document(one.text, None, one.part) for one in documents(60)]
    config = stored(tmp_path / "x", given)
    with pytest.raises(DataError, match=r"x: its documents have no labels, .* data\.files\.label"):
        opened(config, TOKENIZER, tmp_path / "none")


def test_a_source_without_labels_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("".join(f"line {number}\n" for number in range(100)))
    files = FilesConfig(paths=(str(tmp_path / "texts"),))
    config = DataConfig(source="text", files=files, max_tokens=8)
    with pytest.raises(
        DataError, match=r"^text: its documents have no labels, .* data\.files\.label"
    ):
        opened(config, TOKENIZER, tmp_path / "tokens")


def test_what_is_not_a_store_or_altered_is_refused_by_name(tmp_path: Path) -> None:
    config = stored(tmp_path / "x", documents(60))
    shard = next((tmp_path / "x" / "shards").iterdir())
    content = shard.read_bytes()
    shard.chmod(0o644)
    shard.write_bytes(content[:-1])
    with pytest.raises(SealError, match=f"{shard.name}: is truncated"):
        opened(config, TOKENIZER, tmp_path / "none")
    nowhere = config.model_copy(update={"store": tmp_path / "nowhere"})
    with pytest.raises(SealError, match="nowhere: does not exist"):
        opened(nowhere, TOKENIZER, tmp_path / "none")


def test_a_run_keeps_to_the_tokens_that_it_began_with(tmp_path: Path) -> None:
    source = write_documents(tmp_path / "documents")
    config = DataConfig(source="directory", directory=source, held_out=0.2, max_tokens=8)
    before = opened(config, TOKENIZER, tmp_path / "tokens")
    write_documents(source, count=40)
    assert opened(config, TOKENIZER, tmp_path / "tokens").sealed == before.sealed
    assert opened(config, TOKENIZER, tmp_path / "other").sealed.seal != before.sealed.seal


def test_a_language_model_needs_no_labels(tmp_path: Path) -> None:
    given = [Document(one.text, None, one.part) for one in documents(60)]
    config = stored(tmp_path / "x", given)
    store = open_tokens(config, tmp_path / "none", tokenizer=None, labelled=False)
    assert len(store.part("train")) > 0
