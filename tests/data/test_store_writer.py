"""Writing token stores: one result whatever the workers, and nothing done twice."""

import itertools
import multiprocessing
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given as each
from hypothesis import settings
from hypothesis import strategies as st

from retort.core.errors import DataError, RetortError, SealError, StorageError
from retort.core.seal import sealing, verify
from retort.data.documents import Document
from retort.data.shards import ShardSizes
from retort.data.store import TokenStore
from retort.data.store_writer import Written, write_store
from tests.tiny_store import LABELS, bert_tokenizer, documents

SIZES = ShardSizes(least=2000, spread=4000, most=16_000)
TOKENIZER = bert_tokenizer()


def write(
    target: Path,
    given: list[Document] | Iterator[Document],
    *,
    workers: int = 1,
    batch: int = 256,
    previous: Path | None = None,
    tokenizer: bytes = TOKENIZER,
    sizes: ShardSizes = SIZES,
) -> Written:
    return write_store(
        target,
        given,
        tokenizer=tokenizer,
        labels=LABELS,
        workers=workers,
        batch=batch,
        previous=previous,
        sizes=sizes,
    )


def test_the_seal_does_not_depend_on_workers_or_batches(tmp_path: Path) -> None:
    given = documents(1000)
    written = [
        write(tmp_path / f"{workers}-{batch}", given, workers=workers, batch=batch)
        for workers, batch in [(1, 256), (1, 1), (1, 7), (2, 256), (2, 33), (4, 1000)]
    ]
    assert {one.documents for one in written} == {1000}
    assert {(one.tokenised, one.reused) for one in written} == {(1000, 0)}
    assert len({one.sealed.seal for one in written}) == 1
    controls = [
        write(tmp_path / "swapped", [given[1], given[0], *given[2:]]),
        write(tmp_path / "fewer", given[:-1]),
        write(tmp_path / "cased", given, tokenizer=bert_tokenizer(lowercase=False)),
        write(tmp_path / "sizes", given, sizes=ShardSizes(2000, 4000, 16_001)),
    ]
    assert len({one.sealed.seal for one in [written[0], *controls]}) == 5


def test_an_append_leaves_almost_all_shards_as_they_are(tmp_path: Path) -> None:
    target = tmp_path / "store"
    before = write(target, documents(5000))
    after = write(target, documents(5050))
    assert after.tokenised + after.reused == 5050
    assert after.tokenised < 5050 * 0.05
    fresh = write(tmp_path / "fresh", documents(5050))
    assert (fresh.tokenised, fresh.reused) == (5050, 0)
    assert fresh.sealed.seal == after.sealed.seal != before.sealed.seal
    again = write(target, documents(5050))
    assert (again.tokenised, again.reused, again.tokens) == (0, 5050, fresh.tokens)
    assert again.sealed.seal == fresh.sealed.seal


@settings(deadline=None, max_examples=20)
@each(st.integers(0, 1999), st.sampled_from(["insert", "remove", "change"]))
def test_a_change_reaches_only_the_shards_near_it(
    tmp_path_factory: pytest.TempPathFactory, place: int, change: str
) -> None:
    root = tmp_path_factory.mktemp("stores")
    given = documents(2000)
    write(root / "before", given)
    new = [] if change == "remove" else [Document("a new one", "tech", given[place].part)]
    given[place : place + (change != "insert")] = new
    after = write(root / "after", given, previous=root / "before")
    assert after.tokenised <= 400, "at most a few shards of about 60 documents"
    assert after.sealed.seal == write(root / "fresh", given).sealed.seal


def test_a_damaged_shard_is_made_again_and_not_reused(tmp_path: Path) -> None:
    target = tmp_path / "store"
    whole = write(target, documents(500))
    shard = max((target / "shards").iterdir())
    shard.write_bytes(b"x" + shard.read_bytes()[1:])
    mended = write(target, documents(500))
    assert 0 < mended.tokenised < 500
    assert mended.sealed.seal == whole.sealed.seal
    (target / "store.json").write_bytes(b"{}")
    mended = write(target, documents(500))
    assert (mended.tokenised, mended.sealed.seal) == (500, whole.sealed.seal)
    (target / "store.json").write_bytes(b"{}")
    with pytest.raises(SealError, match=r"store/store\.json: is altered"):
        write(tmp_path / "other", documents(500), previous=target)


def test_what_was_finished_before_an_error_is_kept_and_used(tmp_path: Path) -> None:
    def broken() -> Iterator[Document]:
        yield from documents(400)
        raise DataError("articles.jsonl: line 401: is not JSON")

    for workers in (1, 2):
        target = tmp_path / f"store{workers}"
        with pytest.raises(DataError, match="line 401"):
            write(target, broken(), workers=workers)
        assert not target.exists()
        written = write(target, documents(500))
        assert written.reused > 0
        assert written.sealed.seal == write(tmp_path / "fresh", documents(500)).sealed.seal
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "store1", "store2"]


def test_a_damaged_finished_shard_is_made_again(tmp_path: Path) -> None:
    target = tmp_path / "store"
    with pytest.raises(DataError, match="unlabelled"):
        write(target, [*documents(400), Document("x", "unlabelled", "train")])
    for shard in (tmp_path / ".store.work").iterdir():
        shard.write_bytes(shard.read_bytes()[:-1])
    assert write(target, documents(400)).reused == 0


def test_two_writers_of_one_store_do_not_meet(tmp_path: Path) -> None:
    target = tmp_path / "store"

    def meeting() -> Iterator[Document]:
        yield from documents(400)
        with pytest.raises(StorageError, match="store: is being written by another process"):
            write(target, documents(400))
        yield from documents(100, first=400)

    written = write(target, meeting())
    assert written.sealed.seal == write(tmp_path / "fresh", documents(500)).sealed.seal


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_one_clear_error_and_loses_nothing(tmp_path: Path, workers: int) -> None:
    target = tmp_path / "store"
    before = write(target, documents(200))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))  # of the kind of a full disk
    try:
        with pytest.raises(StorageError, match=r"store: cannot be written: .*make room"):
            write(target, documents(2000), workers=workers)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert verify(target).seal == before.sealed.seal
    after = write(target, documents(2000), workers=workers)
    assert after.reused > 0
    assert after.sealed.seal == write(tmp_path / "fresh", documents(2000)).sealed.seal


def test_a_worker_that_is_killed_is_one_clear_error(tmp_path: Path) -> None:
    def killing() -> Iterator[Document]:
        yield from documents(2000)
        for worker in multiprocessing.active_children():
            worker.kill()
        yield from documents(20_000, first=2000)

    with pytest.raises(RetortError, match="a worker process was killed"):
        write(tmp_path / "store", killing(), workers=2)
    assert not (tmp_path / "store").exists()


def test_what_is_no_store_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "thesis.txt").write_text("years of work")
    with sealing(tmp_path / "dataset", kind="dataset", inputs={}, config={}) as directory:
        (directory / "x").write_bytes(b"")
    (tmp_path / "file").write_text("")
    never = itertools.chain(["never reached"])
    for name, kind, message in [
        ("plain", SealError, "is not sealed"),
        ("dataset", SealError, "holds a sealed dataset, not a token-store"),
        ("file", StorageError, "is not a directory"),
    ]:
        with pytest.raises(kind, match=message):
            write(tmp_path / name, never)  # type: ignore[arg-type]
    assert next(never) == "never reached"
    with pytest.raises(SealError, match="is a sealed dataset, and a token-store is needed"):
        write(tmp_path / "store", documents(10), previous=tmp_path / "dataset")


def test_documents_that_cannot_be_stored_are_refused(tmp_path: Path) -> None:
    for wrong, message in [
        (Document("x", "sprot", "train"), "label 'sprot'; did you mean sport"),
        (Document("x", "sport"), "a document is in no part: 'x'"),
        (Document("a\udc80", "sport", "train"), "half a surrogate pair at character 1"),
    ]:
        with pytest.raises(DataError, match=message):
            write(tmp_path / "store", [wrong])
    with pytest.raises(DataError, match="there are no documents"):
        write(tmp_path / "store", [])
    assert list(tmp_path.iterdir()) == []


def test_progress_and_further_files(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    given = iter(documents(500))
    written = write_store(
        tmp_path / "store",
        given,
        tokenizer=TOKENIZER,
        labels=LABELS,
        sizes=SIZES,
        progress=lambda done, tokens: seen.append((done, tokens)),
        extra=lambda: {"report.json": b"%d" % len(list(given))},
    )
    assert len(seen) > 5
    assert seen == sorted(seen)
    assert seen[-1] == (written.documents, written.tokens)
    store = TokenStore.open(tmp_path / "store")
    assert store.sealed.read("report.json") == b"0", "asked for after the last document"
    assert sum(part.tokens for part in store.parts.values()) == written.tokens
