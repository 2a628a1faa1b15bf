"""The flat vector: every parameter has a place, and every block one owner."""

from hypothesis import given, settings
from hypothesis import strategies as st

from retort.train.engines.contract.layout import FlatLayout

SIZES = st.lists(st.integers(1, 700), min_size=1, max_size=20)
BLOCKS = st.sampled_from([64, 128, 256])
WORLDS = st.integers(1, 9)
ELEMENTS = st.integers(1, 5000)


def layout_of(sizes: list[int], block: int) -> FlatLayout:
    return FlatLayout.of({f"weight {place}": size for place, size in enumerate(sizes)}, block)


@settings(deadline=None)
@given(SIZES, BLOCKS)
def test_every_parameter_has_a_place_of_its_own_at_a_multiple_of_64(
    sizes: list[int], block: int
) -> None:
    layout = layout_of(sizes, block)
    end = 0
    for number, (slot, size) in enumerate(zip(layout.slots, sizes, strict=True)):
        assert (slot.name, slot.size) == (f"weight {number}", size)
        assert slot.start % 64 == 0
        assert 0 <= slot.start - end < 64
        end = slot.end
    assert end <= layout.blocks * block < end + 63 + block


@settings(deadline=None)
@given(SIZES, BLOCKS, WORLDS, ELEMENTS)
def test_every_block_belongs_to_one_bucket_and_one_rank(
    sizes: list[int], block: int, world: int, elements: int
) -> None:
    layout = layout_of(sizes, block)
    buckets = layout.buckets(world, elements)
    owned = [one.slice_of(rank, world) for one in buckets for rank in range(world)]
    bounds = [0]
    for one in owned:
        assert one.start == bounds[-1], "slices follow each other without a gap"
        assert len(one) % block == 0
        assert len(one) > 0
        bounds.append(one.stop)
    assert bounds[-1] == buckets[-1].end
    assert layout.blocks * block <= bounds[-1] < layout.blocks * block + world * block


@settings(deadline=None)
@given(SIZES, BLOCKS, WORLDS, ELEMENTS)
def test_buckets_are_as_long_as_asked_for_within_what_ranks_can_share(
    sizes: list[int], block: int, world: int, elements: int
) -> None:
    buckets = layout_of(sizes, block).buckets(world, elements)
    unit = block * world
    lengths = [bucket.end - bucket.start for bucket in buckets]
    assert all(length % unit == 0 for length in lengths)
    assert len(set(lengths[:-1])) <= 1
    assert lengths[-1] <= lengths[0]
    for length in lengths[:-1]:
        assert abs(length - elements) <= unit / 2 or length == unit


@settings(deadline=None)
@given(SIZES, BLOCKS, WORLDS, ELEMENTS)
def test_places_and_blocks_depend_on_the_parameters_alone(
    sizes: list[int], block: int, world: int, elements: int
) -> None:
    layout = layout_of(sizes, block)
    layout.buckets(world, elements)
    assert layout == layout_of(sizes, block)
    assert layout.blocks == -(-sum(-(-size // 64) * 64 for size in sizes) // block)
