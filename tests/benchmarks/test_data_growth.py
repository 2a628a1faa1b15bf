"""How near to a straight line the times of growing corpora lie."""

import pytest

from benchmarks.data.growth import Point, fit
from benchmarks.process import Usage


def points(*pairs: tuple[int, float]) -> list[Point]:
    return [Point(size * 10**6, size, Usage(seconds, seconds, 0)) for size, seconds in pairs]


def test_a_line_is_found_with_its_start() -> None:
    found = fit(points((10, 2.1), (100, 3.0), (1000, 12.0), (2000, 22.0)))
    assert found.start == pytest.approx(2.0)
    assert found.each == pytest.approx(0.01)
    assert found.worst == pytest.approx(0.0, abs=1e-9)


def test_what_is_not_a_line_shows() -> None:
    assert fit(points((10, 1.0), (100, 10.0), (1000, 300.0))).worst > 0.3
