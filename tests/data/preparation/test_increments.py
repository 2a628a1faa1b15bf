"""A store brought up to date: what is new is tokenised, what is there stays, file by file."""

from pathlib import Path

import pytest
from hypothesis import given as each
from hypothesis import settings
from hypothesis import strategies as st

from retort.data.preparation.writer import Written
from retort.data.sources.documents import Document
from retort.data.store.shards import ShardSizes
from retort.data.store.store import TokenStore
from tests.tiny.store import bert_tokenizer, documents, write_tiny_store

SIZES = ShardSizes(least=2000, spread=4000, most=16_000)
TOKENIZER = bert_tokenizer()
NEW = [Document(f"a new match, {number}", "tech", "train") for number in range(50)]


def write(target: Path, given: list[Document], workers: int = 1, files: int = 1) -> Written:
    return write_tiny_store(
        target, given, tokenizer=TOKENIZER, sizes=SIZES, workers=workers, files=files
    )


def shards(target: Path) -> dict[str, int]:
    """The shards of a store and the numbers of their files on the disk."""
    return {file.name: file.stat().st_ino for file in (target / "shards").iterdir()}


def digests(target: Path) -> set[str]:
    store = TokenStore.open(target)
    return {part.digest(number) for part in store.parts.values() for number in range(len(part))}


@pytest.mark.parametrize("place", [5000, 2500, 0], ids=["appended", "inserted", "put in front"])
@pytest.mark.parametrize(("workers", "files"), [(1, 1), (2, 3)])
def test_one_percent_more_documents_tokenise_nothing_else(
    tmp_path: Path, place: int, workers: int, files: int
) -> None:
    target, given = tmp_path / "store", documents(5000)
    before = write(target, given)
    old = shards(target)
    more = [*given[:place], *NEW, *given[place:]]
    after = write(target, more, workers, files)
    assert (after.tokenised, after.reused) == (50, 5000)
    new = shards(target)
    unchanged = {name for name, file in new.items() if old.get(name) == file}
    assert len(old) > 60
    assert len(unchanged) >= len(old) - 3, "one is cut in two, and the next one may begin elsewhere"
    assert not {name for name in set(old) & set(new) if old[name] != new[name]}, "copied"
    fresh = write(tmp_path / "fresh", more)
    assert (fresh.tokenised, fresh.reused) == (5050, 0)
    assert fresh.sealed.seal == after.sealed.seal != before.sealed.seal
    assert fresh.tokens == after.tokens


def test_the_same_again_is_the_same_files(tmp_path: Path) -> None:
    target, given = tmp_path / "store", documents(1000)
    first = write(target, given)
    old = shards(target)
    again = write(target, given)
    assert (again.tokenised, again.reused, again.tokens) == (0, 1000, first.tokens)
    assert (again.sealed.seal, shards(target)) == (first.sealed.seal, old)


def test_what_is_removed_from_the_source_is_removed_from_the_store(tmp_path: Path) -> None:
    target, given = tmp_path / "store", documents(1000)
    write(target, given)
    gone, kept = given[300:310], [*given[:300], *given[310:]]
    assert {one.digest[:32] for one in gone} <= digests(target)
    after = write(target, kept)
    assert (after.tokenised, after.reused) == (0, 990)
    assert digests(target) == {one.digest[:32] for one in kept}
    assert after.sealed.seal == write(tmp_path / "fresh", kept).sealed.seal


def test_documents_that_move_to_another_place_or_part_are_not_tokenised_again(
    tmp_path: Path,
) -> None:
    target, given = tmp_path / "store", documents(1000)
    write(target, given)
    moved = [
        Document(one.text, one.label, "held_out" if one.part == "train" else "train")
        for one in reversed(given)
    ]
    after = write(target, moved)
    assert (after.tokenised, after.reused) == (0, 1000)
    assert after.sealed.seal == write(tmp_path / "fresh", moved).sealed.seal


@settings(deadline=None, max_examples=20)
@each(
    before=st.tuples(st.integers(0, 599), st.integers(0, 599)),
    after=st.tuples(st.integers(0, 599), st.integers(0, 599)),
    damage=st.booleans(),
)
def test_the_seal_is_that_of_the_source_whatever_was_there(
    tmp_path_factory: pytest.TempPathFactory,
    before: tuple[int, int],
    after: tuple[int, int],
    damage: bool,
) -> None:
    root, given = tmp_path_factory.mktemp("stores"), documents(800)
    ends = documents(150, first=800)
    old, new = ([*given[min(two) : max(two)], *ends] for two in (before, after))
    write(root / "store", old)
    broken = set()
    if damage:
        file = max((root / "store" / "shards").iterdir(), key=lambda file: file.stat().st_size)
        broken = set(range(len(file.read_bytes()) // 20))
        file.write_bytes(file.read_bytes()[:-1])
    written = write(root / "store", new)
    known, wanted = {one.digest for one in old}, {one.digest for one in new}
    missing = len(wanted - known)
    assert missing <= written.tokenised <= missing + len(broken)
    assert written.tokenised + written.reused == len(wanted)
    assert written.sealed.seal == write(root / "fresh", new).sealed.seal
    assert digests(root / "store") == {one.digest[:32] for one in new}
