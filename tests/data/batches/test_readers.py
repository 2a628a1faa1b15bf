"""Readers give every document, and every token, once an epoch, for any number of shards."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retort.core.errors import ConfigError, DataError
from retort.data.batches.epoch_order import EpochOrder
from retort.data.batches.grouping import Grouping
from retort.data.batches.readers import BlockReader, ClassificationReader, Shards
from retort.data.sources.documents import Document
from retort.data.store.shards import ShardSizes
from retort.data.store.store import StorePart, TokenStore
from retort.data.tokenizers.collator import Collator
from retort.data.tokenizers.special_tokens import SpecialTokens
from retort.data.tokenizers.text_encoder import TextEncoder
from tests.tiny.store import LABELS, documents, write_tiny_store

GIVEN = [
    *documents(150),
    Document("\x07", "tech", "train"),
    Document("\u200d", "sport", "train"),
    *documents(150, first=150, words=12),
]
TRAIN = [one for one in GIVEN if one.part == "train" and one.text not in ("\x07", "\u200d")]
SEEDS = st.integers(0, 2**63 - 1)
SIZES = st.tuples(st.integers(1, 6), st.integers(1, 9))
"""Of a micro-batch, and how many there are in a step."""
GROUPINGS: st.SearchStrategy[Grouping] = st.integers(1, 5) | st.just("balanced")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    path = tmp_path_factory.mktemp("stores") / "store"
    sizes = ShardSizes(least=300, spread=900, most=4000)
    write_tiny_store(path, GIVEN, sizes=sizes)
    return TokenStore.open(path)


def classification(
    store: TokenStore, lengths: tuple[int, int], seed: int, shards: Shards, grouping: Grouping = 1
) -> ClassificationReader:
    """Of batches as long as the first says at most, and multiples of the second."""
    part, collator = store.part("train"), Collator(store.facts.special, *lengths)
    return ClassificationReader(part, collator, seed, shards, grouping=grouping)


def blocks(store: TokenStore, tokens: int, seed: int, shards: Shards) -> BlockReader:
    return BlockReader(store.part("train"), store.facts.special, tokens, seed, shards)


def stream(part: StorePart, boundary: int) -> list[int]:
    """A boundary, then each document and a boundary."""
    tokens = [boundary]
    for number in range(len(part)):
        tokens += [*part.document(number).tolist(), boundary]
    return tokens


@settings(deadline=None, max_examples=60)
@given(SEEDS, SIZES, GROUPINGS, st.integers(0, 3))
def test_every_document_comes_once_an_epoch(
    store: TokenStore, seed: int, sizes: tuple[int, int], grouping: Grouping, epochs: int
) -> None:
    size, count = sizes
    shards = Shards(size * count, count)
    reader = classification(store, (32, 8), seed, shards, grouping)
    window = 1 if grouping == "balanced" else grouping
    windows = -(-epochs * len(store.part("train")) // (window * shards.batch))
    numbers = [
        int(number)
        for step in range(windows * window)
        for shard in range(count)
        for number in reader.batch(step, shard).documents
    ]
    order = EpochOrder(len(store.part("train")), seed)
    expected = order.samples(0, len(numbers)).tolist()
    assert sorted(numbers) == sorted(expected)
    if grouping == 1:
        assert numbers == expected


@settings(deadline=None, max_examples=60)
@given(SEEDS, SIZES, st.integers(1, 900), st.integers(0, 2))
def test_every_token_is_a_target_once_an_epoch(
    store: TokenStore, seed: int, sizes: tuple[int, int], tokens: int, epoch: int
) -> None:
    size, count = sizes
    batch = size * count
    reader = blocks(store, tokens, seed, Shards(batch, count))
    length = reader.length
    first = epoch * length
    found: dict[int, list[int]] = {}
    position = first // batch * batch
    for step in range(first // batch, -(-(first + length) // batch)):
        given = [reader.batch(step, shard) for shard in range(count)]
        assert sum(int(one.targets.sum()) for one in given) == reader.targets(step)
        for one in given:
            for block, ids, targets in zip(one.blocks, one.ids, one.targets, strict=True):
                if first <= position < first + length:
                    assert int(block) not in found
                    found[int(block)] = ids[: targets + 1].tolist()
                position += 1
    joined = [found[0][0], *(token for block in range(length) for token in found[block][1:])]
    assert joined == stream(store.part("train"), 3)


def test_blocks_are_filled_up_with_boundaries_that_are_no_targets(store: TokenStore) -> None:
    reader = blocks(store, 10_000_000, 0, Shards(1))
    batch = reader.batch(0, 0)
    count = int(batch.targets[0])
    assert (reader.length, count) == (1, len(stream(store.part("train"), 3)) - 1)
    assert set(batch.ids[0, count + 1 :].tolist()) == {3}


def test_a_micro_batch_depends_on_its_step_and_shard_alone(store: TokenStore) -> None:
    shards = Shards(12, 3)
    for make in (
        lambda: classification(store, (32, 16), 7, shards),
        lambda: classification(store, (32, 16), 7, shards, grouping=8),
        lambda: classification(store, (32, 16), 7, shards, grouping="balanced"),
        lambda: blocks(store, 20, 7, shards),
    ):
        straight = [[make().batch(step, shard).ids for shard in range(3)] for step in range(60)]
        reader = make()
        for step, shard in ((59, 2), (3, 0), (50, 1), (51, 2), (3, 1), (0, 0)):
            assert np.array_equal(reader.batch(step, shard).ids, straight[step][shard])


@settings(deadline=None, max_examples=30)
@given(SEEDS, SIZES, GROUPINGS, st.integers(0, 40))
def test_what_is_told_of_a_whole_step_is_what_its_micro_batches_have(
    store: TokenStore, seed: int, sizes: tuple[int, int], grouping: Grouping, step: int
) -> None:
    size, count = sizes
    reader = classification(store, (32, 8), seed, Shards(size * count, count), grouping)
    batches = [reader.batch(step, shard) for shard in range(count)]
    labels = np.concatenate([batch.labels for batch in batches])
    assert np.array_equal(reader.labels(step), labels)
    assert reader.tokens(step) == sum(int(batch.mask.sum()) for batch in batches)


def padding(reader: ClassificationReader, steps: int, shards: int) -> float:
    masks = [reader.batch(step, shard).mask for step in range(steps) for shard in range(shards)]
    return 1 - sum(int(mask.sum()) for mask in masks) / sum(mask.size for mask in masks)


def test_grouping_leaves_less_than_half_of_the_padding(store: TokenStore) -> None:
    alone, grouped = (
        padding(classification(store, (64, 8), 0, Shards(16, 4), grouping), 16, 4)
        for grouping in (1, 16)
    )
    assert grouped < alone / 2


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, len(TRAIN) - 1), max_size=20), st.integers(3, 60))
def test_batches_are_what_the_text_encoder_gives(
    store: TokenStore, numbers: list[int], length: int
) -> None:
    reader = classification(store, (length, 1), 0, Shards(1))
    batch = reader.texts(np.array(numbers, np.int64))
    expected = TextEncoder(store.tokenizer, length).encode([TRAIN[one].text for one in numbers])
    assert np.array_equal(batch.ids, expected.ids)
    assert np.array_equal(batch.mask, expected.mask)
    assert batch.labels.tolist() == [LABELS.index(TRAIN[one].label or "") for one in numbers]


def test_what_cannot_be_read_so_is_refused(store: TokenStore) -> None:
    part, special = store.part("train"), store.facts.special
    with pytest.raises(ConfigError, match=r"data\.max_tokens must be over 2"):
        Collator(special, 2)
    collator = Collator(special, 8)
    with pytest.raises(ConfigError, match="at least one step, not 0"):
        ClassificationReader(part, collator, 0, Shards(1), grouping=0)
    for batch, count in ((8, 3), (4, 8), (8, 0)):
        with pytest.raises(ConfigError, match=f"batch {batch} cannot be cut into {count} equal"):
            Shards(batch, count)
    with pytest.raises(ConfigError, match="at least one token, not 0"):
        BlockReader(part, special, 0, 0, Shards(1))
    bare = SpecialTokens((), (), None, None)
    with pytest.raises(DataError, match="has no padding token"):
        Collator(bare, 8)
    with pytest.raises(DataError, match="has no boundary token"):
        BlockReader(part, bare, 8, 0, Shards(1))
    for make in (
        lambda: ClassificationReader(StorePart([]), collator, 0, Shards(1)),
        lambda: BlockReader(StorePart([]), special, 8, 0, Shards(1)),
    ):
        with pytest.raises(DataError, match="there are no documents"):
            make()
