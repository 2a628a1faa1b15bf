"""Writing token stores: one result whatever the workers and whatever was there, or a clear error."""

import multiprocessing
import resource
import shutil
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest

from retort.core.errors import DataError, RetortError, SealError, StorageError
from retort.core.seal import sealing, verify
from retort.data.config import CorpusConfig
from retort.data.preparation.writer import Written, write_store
from retort.data.reading.workers import LocalWorkers
from retort.data.sources.documents import Document
from retort.data.store.shards import ShardSizes
from retort.data.store.store import TokenStore
from tests.tiny.store import (
    bert_tokenizer,
    byte_level_tokenizer,
    documents,
    write_corpus,
    write_tiny_store,
)

SIZES = ShardSizes(least=2000, spread=4000, most=16_000)
TOKENIZER = bert_tokenizer()


def write(target: Path, given: list[Document], workers: int = 1, files: int = 1) -> Written:
    return write_tiny_store(
        target, given, tokenizer=TOKENIZER, sizes=SIZES, workers=workers, files=files
    )


def seal_of(root: Path, given: list[Document]) -> str:
    """What a writer who finds nothing seals."""
    return write(root / "fresh", given).sealed.seal


def test_the_seal_does_not_depend_on_workers_or_files(tmp_path: Path) -> None:
    given = documents(1000)
    written = [
        write(tmp_path / f"{workers}-{files}", given, workers, files)
        for workers, files in [(1, 1), (1, 7), (2, 5), (4, 9)]
    ]
    assert {one.documents for one in written} == {1000}
    assert {(one.tokenised, one.reused) for one in written} == {(1000, 0)}
    assert len({one.sealed.seal for one in written}) == 1
    assert len({one.corpus.validation.to_json() for one in written[1:]}) == 3, "files are counted"
    sizes = ShardSizes(2000, 4000, 16_001)
    cased = bert_tokenizer(lowercase=False)
    controls = [
        write(tmp_path / "swapped", [given[1], given[0], *given[2:]]),
        write(tmp_path / "fewer", given[:-1]),
        write_tiny_store(tmp_path / "cased", given, tokenizer=cased, sizes=SIZES),
        write_tiny_store(tmp_path / "sizes", given, tokenizer=TOKENIZER, sizes=sizes),
    ]
    assert len({one.sealed.seal for one in [written[0], *controls]}) == 5


def test_copies_in_many_files_are_one_document_whoever_reads_them(tmp_path: Path) -> None:
    given = documents(300)
    twice = [*given, *given[::-1], *given[:7]]
    written = [write(tmp_path / str(n), twice, workers=n, files=6) for n in (1, 2)]
    assert {one.documents for one in written} == {300}
    found = [one.corpus.validation for one in written]
    assert found[0] == found[1]
    assert (found[0].documents, found[0].duplicates) == (607, 307)
    assert written[0].sealed.seal == written[1].sealed.seal


def test_what_is_in_the_memory_of_this_process_is_read_here(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", documents(200), files=3)
    memory = fsspec.filesystem("memory")
    memory.put(f"{tmp_path}/corpus/", "/writer/", recursive=True)
    try:
        files = {
            "paths": ["memory://writer/train-*"],
            "held_out_paths": ["memory://writer/held_out-*"],
            "label": "label",
        }
        config = CorpusConfig.model_validate(
            {"source": "jsonl", "files": files, "near_duplicates": {"action": "ignore"}}
        )
        written = write_store(
            tmp_path / "store", config, TOKENIZER, workers=LocalWorkers(2), sizes=SIZES
        )
    finally:
        memory.rm("/writer", recursive=True)
    assert written.sealed.seal == seal_of(tmp_path, documents(200))


def test_a_damaged_shard_is_made_again_and_not_reused(tmp_path: Path) -> None:
    target = tmp_path / "store"
    whole = write(target, documents(500))
    shard = max((target / "shards").iterdir(), key=lambda file: file.stat().st_size)
    shard.write_bytes(b"x" + shard.read_bytes()[1:])
    mended = write(target, documents(500))
    assert 0 < mended.tokenised < 500
    assert mended.sealed.seal == whole.sealed.seal
    shard.unlink()
    mended = write(target, documents(500))
    assert 0 < mended.tokenised < 500
    assert mended.sealed.seal == whole.sealed.seal
    (target / "store.json").write_bytes(b"{}")
    mended = write(target, documents(500))
    assert (mended.tokenised, mended.sealed.seal) == (500, whole.sealed.seal)


def test_nothing_of_another_tokenizer_is_used(tmp_path: Path) -> None:
    target = tmp_path / "store"
    other = byte_level_tokenizer([one.text for one in documents(50)])
    write_tiny_store(target, documents(500), tokenizer=other, sizes=SIZES)
    written = write(target, documents(500))
    assert (written.tokenised, written.sealed.seal) == (500, seal_of(tmp_path, documents(500)))
    for tokenizer in (other, TOKENIZER):  # what an interrupted writer leaves is of its tokenizer
        shutil.rmtree(target)
        broken = write_corpus(tmp_path / "broken", documents(400), files=3)
        (tmp_path / "broken" / "train-002.jsonl").write_text("{")
        with pytest.raises(DataError, match="row 1 is not JSON"):
            write_store(target, broken, tokenizer, sizes=SIZES)
        written = write(target, documents(500))
        assert (written.reused > 0) == (tokenizer == TOKENIZER)
        assert written.sealed.seal == seal_of(tmp_path, documents(500))


@pytest.mark.parametrize("workers", [1, 2])
def test_what_was_tokenised_before_an_error_is_kept_and_used(tmp_path: Path, workers: int) -> None:
    target, given = tmp_path / "stores" / "store", documents(500)
    config = write_corpus(tmp_path / "corpus", given, files=5)
    last = tmp_path / "corpus" / "held_out-004.jsonl"
    content = last.read_text()
    last.write_text(content + "{\n")
    row = content.count("\n") + 1
    with pytest.raises(DataError, match=rf"^{last}: row {row} is not JSON"):
        write_store(target, config, TOKENIZER, workers=LocalWorkers(workers), sizes=SIZES)
    assert not target.exists()
    last.write_text(content)
    written = write_store(target, config, TOKENIZER, workers=LocalWorkers(workers), sizes=SIZES)
    assert written.reused + written.tokenised == 500
    assert written.reused >= 400 if workers == 1 else written.reused > 0
    assert written.sealed.seal == seal_of(tmp_path, given)
    assert [path.name for path in target.parent.iterdir()] == ["store"]


def test_kept_tokens_that_are_damaged_are_made_again(tmp_path: Path) -> None:
    target = tmp_path / "store"
    config = write_corpus(tmp_path / "corpus", documents(400), files=4)
    bad = tmp_path / "corpus" / "held_out-003.jsonl"
    content = bad.read_text()
    for damage in (lambda data: data[:-1], lambda data: data[:-1] + b"\xff", lambda _: b""):
        bad.write_text("{")
        with pytest.raises(DataError, match="is not JSON"):
            write_store(target, config, TOKENIZER, sizes=SIZES)
        for file in (tmp_path / ".store.work").iterdir():
            file.write_bytes(damage(file.read_bytes()))
        bad.write_text(content)
        written = write_store(target, config, TOKENIZER, sizes=SIZES)
        assert written.reused == 0
        assert written.sealed.seal == seal_of(tmp_path, documents(400))
        shutil.rmtree(target)


def test_two_writers_of_one_store_do_not_meet(tmp_path: Path) -> None:
    config = write_corpus(tmp_path / "corpus", documents(300))
    met = []

    def meet(*_: object) -> None:
        with pytest.raises(StorageError, match="store: is being written by another process"):
            write_store(tmp_path / "store", config, TOKENIZER, sizes=SIZES)
        met.append(True)

    written = write_store(tmp_path / "store", config, TOKENIZER, sizes=SIZES, progress=meet)
    assert met
    assert written.sealed.seal == seal_of(tmp_path, documents(300))


@pytest.mark.parametrize("limit", [3000, 20_000], ids=["tokens", "shards"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_over_the_limit_of_the_system_is_one_clear_error_and_loses_nothing(
    tmp_path: Path, workers: int, limit: int
) -> None:
    target, sizes = tmp_path / "store", ShardSizes(40_000, 40_000, 80_000)
    small = write_corpus(tmp_path / "small", documents(60))
    before = write_store(target, small, TOKENIZER, sizes=sizes)
    config = write_corpus(tmp_path / "corpus", documents(2000), files=12)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"store: cannot be written: .*make room"):
            write_store(target, config, TOKENIZER, workers=LocalWorkers(workers), sizes=sizes)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert verify(target).seal == before.sealed.seal
    after = write_store(target, config, TOKENIZER, sizes=sizes)
    assert after.reused == 60 if limit == 3000 else after.reused == 2000
    fresh = write_store(tmp_path / "fresh", config, TOKENIZER, sizes=sizes)
    assert after.sealed.seal == fresh.sealed.seal


def test_a_worker_that_is_killed_is_one_clear_error(tmp_path: Path) -> None:
    config = write_corpus(tmp_path / "corpus", documents(900), files=9)

    def kill(*_: object) -> None:
        for worker in multiprocessing.active_children():
            worker.kill()

    with pytest.raises(RetortError, match=r"a worker process was killed.*is kept") as caught:
        write_store(
            tmp_path / "store",
            config,
            TOKENIZER,
            workers=LocalWorkers(2),
            sizes=SIZES,
            progress=kill,
        )
    assert caught.value.exit_code == 1
    assert not (tmp_path / "store").exists()
    assert multiprocessing.active_children() == []
    written = write_store(tmp_path / "store", config, TOKENIZER, sizes=SIZES)
    assert written.reused >= 900 // 18 - 1, "one file at least"
    assert written.sealed.seal == seal_of(tmp_path, documents(900))


def test_what_is_no_store_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "thesis.txt").write_text("years of work")
    with sealing(tmp_path / "dataset", kind="dataset", inputs={}, config={}) as directory:
        (directory / "x").write_bytes(b"")
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "dataset")
    config = write_corpus(tmp_path / "corpus", documents(50))
    for name, kind, message in [
        ("plain", SealError, "is not sealed"),
        ("dataset", SealError, "holds a sealed dataset, not a token-store"),
        ("file", StorageError, "is not a directory"),
        ("link", StorageError, "is not a directory"),
    ]:
        with pytest.raises(kind, match=message):
            write_store(tmp_path / name, config, TOKENIZER)
        assert not (tmp_path / f".{name}.work").exists()


def test_documents_that_cannot_be_stored_are_refused(tmp_path: Path) -> None:
    target = tmp_path / "stores" / "store"
    cases: list[tuple[list[Document], str]] = [
        ([], "train-000.jsonl: holds no documents"),
        ([Document("x", "sport", "train")], "no document falls in the held_out part, of 1"),
        ([*documents(50), Document("x", "odd", "train")], "no document of label 'odd' falls in"),
        ([Document(" ", "sport", "train")], "no document falls in the train part, of 1"),
    ]
    for given, message in cases:
        config = write_corpus(tmp_path / "corpus", given)
        with pytest.raises(DataError, match=message):
            write_store(target, config, TOKENIZER)
        assert not target.exists()


def test_progress_and_further_files(tmp_path: Path) -> None:
    seen: list[tuple[float, int, int]] = []
    written = write_store(
        tmp_path / "store",
        write_corpus(tmp_path / "corpus", documents(500), files=4),
        TOKENIZER,
        sizes=SIZES,
        settings={"more": "words"},
        progress=lambda *now: seen.append(now),
        extra=lambda corpus: {"report.json": b"%d" % corpus.validation.documents},
    )
    assert len(seen) == 8
    assert seen == sorted(seen)
    assert seen[-1][0] == pytest.approx(1.0)
    assert seen[-1][1:] == (written.documents, written.tokens)
    store = TokenStore.open(tmp_path / "store")
    assert store.sealed.read("report.json") == b"500"
    assert store.sealed.manifest.config["more"] == "words"
    assert sum(part.tokens for part in store.parts.values()) == written.tokens
