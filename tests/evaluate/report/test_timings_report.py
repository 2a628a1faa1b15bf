"""The page of timings: shares weighed by time, and a picture of each."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree

import pytest

from retort.evaluate.report.timings_report import mean_shares, render_timings


@dataclass(frozen=True)
class Record:
    """Some steps in a row."""

    step: int
    seconds: float
    samples_per_second: float = 40.0
    tokens_per_second: float = 5120.0
    mfu: float = 0.25
    memory_bytes: int = 2**30
    shares: Mapping[str, float] = field(default_factory=lambda: {"compute": 1.0})


RECORDS = [
    Record(10, 30.0, shares={"other": 0.1, "data": 0.1, "compute": 0.8}),
    Record(20, 10.0, samples_per_second=80.0, shares={"compute": 0.4, "checkpoint": 0.6}),
]


def test_shares_are_of_the_whole_time_with_the_known_kinds_first() -> None:
    shares = mean_shares(RECORDS)
    assert list(shares) == ["compute", "data", "checkpoint", "other"]
    assert shares["compute"] == pytest.approx((30 * 0.8 + 10 * 0.4) / 40)
    assert sum(shares.values()) == pytest.approx(1.0)


def test_the_page_shows_time_throughput_memory_and_machine() -> None:
    page = render_timings("tiny & fast", RECORDS, {"processor": "<some> CPU"})
    for shown in ("40.0 s", "50.0", "5,120", "1.00 GiB", "25.0%", "&lt;some&gt; CPU", "compute 70"):
        assert shown in page
    assert "tiny &amp; fast: time" in page
    pictures = re.findall(r"<svg .*?</svg>", page, flags=re.DOTALL)
    assert len(pictures) == 2
    for picture in pictures:
        assert ElementTree.fromstring(picture).attrib["aria-label"]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(59.9, "1 min 00 s"), (61, "1 min 01 s"), (7260, "2 h 01 min")]
)
def test_long_times_are_in_minutes_and_hours(seconds: float, shown: str) -> None:
    assert shown in render_timings("run", [Record(1, seconds)], {})
