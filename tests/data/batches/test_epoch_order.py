"""The order of training: every document once an epoch, named without going through the others."""

from hypothesis import given, settings
from hypothesis import strategies as st

from retort.data.batches.order import EpochOrder

LENGTHS = st.integers(1, 300)
SEEDS = st.integers(0, 2**63 - 1)


@settings(deadline=None)
@given(LENGTHS, SEEDS, st.integers(0, 10**9))
def test_each_epoch_holds_every_document_once(length: int, seed: int, epoch: int) -> None:
    order = EpochOrder(length, seed)
    assert sorted(order.index(epoch, position) for position in range(length)) == list(range(length))


@settings(deadline=None)
@given(LENGTHS, SEEDS, st.integers(0, 50), st.integers(1, 17))
def test_batches_are_the_epochs_laid_end_to_end(
    length: int, seed: int, step: int, size: int
) -> None:
    order = EpochOrder(length, seed)
    numbers = range(step * size, (step + 1) * size)
    expected = [order.index(number // length, number % length) for number in numbers]
    assert EpochOrder(length, seed).batch(step, size) == expected


def test_epochs_and_seeds_have_different_orders() -> None:
    def epoch(seed: int, number: int) -> tuple[int, ...]:
        order = EpochOrder(100, seed)
        return tuple(order.index(number, position) for position in range(100))

    orders = {epoch(seed, number) for seed in range(10) for number in range(10)}
    assert len(orders) == 100


def test_every_document_may_stand_anywhere() -> None:
    """The first place of 2,000 epochs is shared out evenly (chi-squared, 9 degrees of freedom)."""
    order = EpochOrder(10, seed=0)
    counts = [0] * 10
    for epoch in range(2000):
        counts[order.index(epoch, 0)] += 1
    chi_squared = sum((count - 200) ** 2 / 200 for count in counts)
    assert chi_squared < 27.9, "more than chance gives once in a thousand seeds"


def test_the_order_is_the_one_it_has_always_been() -> None:
    """Another order would give every recipe another seal."""
    order = [EpochOrder(10, seed=0).index(0, position) for position in range(10)]
    assert order == [9, 8, 4, 1, 7, 3, 5, 0, 6, 2]
