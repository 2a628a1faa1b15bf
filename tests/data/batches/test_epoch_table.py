"""The fast order is the order."""

from hypothesis import given, settings
from hypothesis import strategies as st

from retort.data.batches.epoch_table import EpochTable
from retort.data.batches.order import EpochOrder


@settings(deadline=None)
@given(
    st.one_of(st.integers(1, 300), st.integers(8000, 20_000)),
    st.integers(0, 2**63 - 1),
    st.integers(0, 10**6),
    st.lists(st.tuples(st.floats(0, 2.5), st.integers(0, 40)), max_size=4),
)
def test_samples_are_those_of_the_order(
    length: int, seed: int, epoch: int, asked: list[tuple[float, int]]
) -> None:
    order = EpochOrder(length, seed)
    table = EpochTable(order)
    for place, count in asked:
        first = epoch * length + int(place * length)
        expected = [order.sample(number) for number in range(first, first + count)]
        assert table.samples(first, count).tolist() == expected


def test_every_sample_of_a_long_epoch_once() -> None:
    order = EpochOrder(1_000_003, seed=5)
    samples = EpochTable(order).samples(3 * order.length, order.length)
    assert sorted(samples.tolist()) == list(range(order.length))
    assert samples[:5].tolist() == [order.index(3, position) for position in range(5)]
