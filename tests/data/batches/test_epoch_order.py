"""The order of training: every document once an epoch, named without going through the others."""

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from retort.data.batches.epoch_order import EpochOrder

LENGTHS = st.one_of(st.integers(1, 300), st.integers(8000, 20_000))
SEEDS = st.integers(0, 2**63 - 1)
EPOCHS = st.integers(0, 10**6)


def sample(length: int, seed: int, number: int) -> int:
    """The definition: one position through the network, round by round, until it is inside."""
    epoch, value = divmod(number, length)
    half = max(1, ((length - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = value >> half, value & mask
        for turn in range(6):
            key = f"{seed}/{epoch}/{turn}/{right}".encode()
            scrambled = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") & mask
            left, right = right, left ^ scrambled
        value = left << half | right
        if value < length:
            return value


def epoch_of(length: int, seed: int, epoch: int) -> list[int]:
    return [int(one) for one in EpochOrder(length, seed).samples(epoch * length, length)]


@settings(deadline=None)
@given(LENGTHS, SEEDS, EPOCHS)
def test_each_epoch_holds_every_document_once(length: int, seed: int, epoch: int) -> None:
    assert sorted(epoch_of(length, seed, epoch)) == list(range(length))


@settings(deadline=None)
@given(
    LENGTHS, SEEDS, EPOCHS, st.lists(st.tuples(st.floats(0, 2.5), st.integers(0, 40)), max_size=4)
)
def test_samples_are_the_epochs_laid_end_to_end(
    length: int, seed: int, epoch: int, asked: list[tuple[float, int]]
) -> None:
    order = EpochOrder(length, seed)
    for place, count in asked:
        first = epoch * length + int(place * length)
        expected = [sample(length, seed, number) for number in range(first, first + count)]
        assert order.samples(first, count).tolist() == expected


def test_every_sample_of_a_long_epoch_once() -> None:
    length = 1_000_003
    samples = epoch_of(length, 5, 3)
    assert sorted(samples) == list(range(length))
    assert samples[:5] == [sample(length, 5, 3 * length + place) for place in range(5)]


def test_epochs_and_seeds_have_different_orders() -> None:
    orders = {tuple(epoch_of(100, seed, epoch)) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100


def test_every_document_may_stand_anywhere() -> None:
    """The first place of 2,000 epochs is shared out evenly (chi-squared, 9 degrees of freedom)."""
    order = EpochOrder(10, seed=0)
    counts = [0] * 10
    for epoch in range(2000):
        (document,) = order.samples(epoch * 10, 1).tolist()
        counts[document] += 1
    chi_squared = sum((count - 200) ** 2 / 200 for count in counts)
    assert chi_squared < 27.9, "more than chance gives once in a thousand seeds"


def test_the_order_is_the_one_it_has_always_been() -> None:
    """Another order would give every recipe another seal."""
    assert epoch_of(10, 0, 0) == [9, 8, 4, 1, 7, 3, 5, 0, 6, 2]
