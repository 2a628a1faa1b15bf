"""Readers give every document, and every token, once an epoch, for any number of ranks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retort.core.errors import ConfigError, DataError
from retort.data.documents import Document
from retort.data.readers import BlockReader, ClassificationReader, Share
from retort.data.shards import ShardSizes
from retort.data.store import SpecialTokens, StorePart, TokenStore
from retort.data.tokenise import Tokeniser
from tests.tiny_store import LABELS, documents, write_tiny_store

GIVEN = [
    *documents(150),
    Document("\x07", "tech", "train"),
    Document("\u200d", "sport", "train"),
    *documents(150, first=150, words=12),
]
TRAIN = [document for document in GIVEN if document.part == "train"]
SEEDS = st.integers(0, 2**63 - 1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    path = tmp_path_factory.mktemp("stores") / "store"
    sizes = ShardSizes(least=300, spread=900, most=4000)
    write_tiny_store(path, GIVEN, sizes=sizes)
    return TokenStore.open(path)


def classification(
    store: TokenStore, lengths: tuple[int, ...], seed: int, share: Share
) -> ClassificationReader:
    return ClassificationReader(store.part("train"), store.facts.special, lengths, seed, share)


def blocks(store: TokenStore, tokens: int, seed: int, share: Share) -> BlockReader:
    return BlockReader(store.part("train"), store.facts.special, tokens, seed, share)


def stream(part: StorePart, boundary: int) -> list[int]:
    """A boundary, then each document and a boundary."""
    tokens = [boundary]
    for number in range(len(part)):
        tokens += [*part.document(number).tolist(), boundary]
    return tokens


@pytest.mark.parametrize("world_size", range(1, 17))
@settings(deadline=None, max_examples=5)
@given(SEEDS, st.integers(1, 40), st.integers(0, 3))
def test_every_document_comes_once_an_epoch(
    store: TokenStore, world_size: int, seed: int, batch: int, epoch: int
) -> None:
    count = len(store.part("train"))
    first, last = epoch * count, (epoch + 1) * count
    readers = [
        classification(store, (16, 32), seed, Share(batch, rank, world_size))
        for rank in range(world_size)
    ]
    numbers = []
    for step in range(first // batch, -(-last // batch)):
        numbers += [number for reader in readers for number in reader.batch(step).documents]
    skipped = first - first // batch * batch
    assert sorted(numbers[skipped : skipped + count]) == list(range(count))


@pytest.mark.parametrize("world_size", range(1, 17))
@settings(deadline=None, max_examples=5)
@given(SEEDS, st.tuples(st.integers(1, 40), st.integers(1, 900)), st.integers(0, 2))
def test_every_token_is_a_target_once_an_epoch(
    store: TokenStore, world_size: int, seed: int, sizes: tuple[int, int], epoch: int
) -> None:
    batch, tokens = sizes
    readers = [
        blocks(store, tokens, seed, Share(batch, rank, world_size)) for rank in range(world_size)
    ]
    length = readers[0].length
    first = epoch * length
    found: dict[int, list[int]] = {}
    position = first // batch * batch
    for step in range(first // batch, -(-(first + length) // batch)):
        for reader in readers:
            given = reader.batch(step)
            for block, ids, targets in zip(given.blocks, given.ids, given.targets, strict=True):
                if first <= position < first + length:
                    assert int(block) not in found
                    found[int(block)] = ids[: targets + 1].tolist()
                position += 1
    joined = [found[0][0], *(token for block in range(length) for token in found[block][1:])]
    assert joined == stream(store.part("train"), 3)


def test_blocks_are_filled_up_with_boundaries_that_are_no_targets(store: TokenStore) -> None:
    reader = blocks(store, 10_000_000, 0, Share(1))
    batch = reader.batch(0)
    count = int(batch.targets[0])
    assert (reader.length, count) == (1, len(stream(store.part("train"), 3)) - 1)
    assert set(batch.ids[0, count + 1 :].tolist()) == {3}


def test_a_batch_depends_on_its_step_alone(store: TokenStore) -> None:
    for make in (
        lambda: classification(store, (16, 32), 7, Share(12, 1, 3)),
        lambda: blocks(store, 20, 7, Share(12, 1, 3)),
    ):
        straight = [make().batch(step).ids for step in range(100)]
        reader = make()
        for step in (99, 3, 50, 51, 0):
            assert np.array_equal(reader.batch(step).ids, straight[step])


def test_ranks_share_one_step_whatever_their_number(store: TokenStore) -> None:
    whole = classification(store, (40,), 3, Share(24)).batch(5)
    for world_size in range(1, 17):
        shared = [
            classification(store, (40,), 3, Share(24, rank, world_size)).batch(5)
            for rank in range(world_size)
        ]
        assert np.array_equal(np.concatenate([batch.ids for batch in shared]), whole.ids)
        assert {len(batch.ids) for batch in shared} <= {24 // world_size, -(-24 // world_size)}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, len(TRAIN) - 1), max_size=20), st.integers(3, 60))
def test_batches_are_what_the_tokeniser_gives(
    store: TokenStore, numbers: list[int], length: int
) -> None:
    reader = classification(store, (length,), 0, Share(1))
    batch = reader.texts(np.array(numbers, np.int64))
    tokeniser = Tokeniser(store.tokenizer, length)
    expected = tokeniser.encode([TRAIN[number].text for number in numbers])
    assert np.array_equal(batch.ids, expected.ids.numpy())
    assert np.array_equal(batch.mask, expected.mask.numpy())
    assert (batch.truncated, batch.dropped) == (expected.truncated, expected.dropped)
    labels = [LABELS.index(TRAIN[number].label or "") for number in numbers]
    assert batch.labels.tolist() == labels
    buckets = classification(store, (3, 9, 20, 60), 0, Share(1)).texts(np.array(numbers, np.int64))
    longest = int(buckets.mask.sum(axis=1).max(initial=0))
    assert buckets.ids.shape[1] == min(size for size in (3, 9, 20, 60) if size >= longest)


def test_what_cannot_be_read_so_is_refused(store: TokenStore) -> None:
    part, special = store.part("train"), store.facts.special
    for lengths in [(), (2, 8), (8, 8), (9, 8)]:
        with pytest.raises(ConfigError, match="lengths must rise and be over 2"):
            ClassificationReader(part, special, lengths, 0, Share(1))
    with pytest.raises(ConfigError, match="at least one token, not 0"):
        BlockReader(part, special, 0, 0, Share(1))
    bare = SpecialTokens((), (), None, None)
    with pytest.raises(DataError, match="has no padding token"):
        ClassificationReader(part, bare, (8,), 0, Share(1))
    with pytest.raises(DataError, match="has no boundary token"):
        BlockReader(part, bare, 8, 0, Share(1))
    for make in (
        lambda: ClassificationReader(StorePart([]), special, (8,), 0, Share(1)),
        lambda: BlockReader(StorePart([]), special, 8, 0, Share(1)),
    ):
        with pytest.raises(DataError, match="there are no documents"):
            make()
