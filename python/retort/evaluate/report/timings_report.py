"""Where the time of a run went: a page apart from the report, because no two runs take as long."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from retort.core.report import render
from retort.evaluate.report.timing_plots import shares_picture, throughput_picture

_ORDER = ("compute", "data", "communication", "checkpoint", "evaluation")


class Timing(Protocol):
    """Some optimiser steps in a row: the trainer's record of them has these, and may have more."""

    @property
    def step(self) -> int:
        """The last of them."""

    @property
    def seconds(self) -> float:
        """That they took."""

    @property
    def samples_per_second(self) -> float:
        """Of all ranks."""

    @property
    def tokens_per_second(self) -> float:
        """Of all ranks."""

    @property
    def mfu(self) -> float:
        """Model FLOP/s over those that the devices can do at most."""

    @property
    def memory_bytes(self) -> int:
        """Main memory that the process had at most so far."""

    @property
    def shares(self) -> Mapping[str, float]:
        """Of `seconds`, by the kind of work, 0 .. 1."""


def render_timings(name: str, records: Sequence[Timing], host: Mapping[str, str]) -> str:
    """The page as HTML.

    Args:
        name: of the run.
        records: in the order of their steps, at least one.
        host: facts of the machine, by what they are.
    """
    seconds = sum(one.seconds for one in records)
    samples = _mean(records, [one.samples_per_second for one in records])
    tokens = _mean(records, [one.tokens_per_second for one in records])
    mfu = _mean(records, [one.mfu for one in records])
    figures = {
        "training, wall clock": _duration(seconds),
        "samples a second": f"{samples:,.1f}",
        "tokens a second": f"{tokens:,.0f}",
        "most memory": f"{max(one.memory_bytes for one in records) / 2**30:.2f} GiB",
        "model FLOP/s utilisation": f"{mfu:.1%}",
    }
    steps = [one.step for one in records]
    return render(
        "retort.evaluate.report",
        "timings.html",
        title=f"{name}: {_duration(seconds)}",
        name=f"{name}: time",
        verdicts=(),
        figures=figures,
        shares=shares_picture(mean_shares(records)),
        rates=throughput_picture(
            steps, [one.samples_per_second for one in records], "samples a second"
        ),
        host=host,
    )


def mean_shares(records: Sequence[Timing]) -> dict[str, float]:
    """The share of the whole time that each kind of work took, the known kinds first."""
    names = {name for one in records for name in one.shares}
    known = [name for name in _ORDER if name in names]
    ordered = known + sorted(names - set(known))
    return {
        name: _mean(records, [one.shares.get(name, 0.0) for one in records]) for name in ordered
    }


def _mean(records: Sequence[Timing], values: Sequence[float]) -> float:
    """Over the time, so that a slow stretch counts as long as it was."""
    seconds = sum(one.seconds for one in records)
    weighted = (one.seconds * value for one, value in zip(records, values, strict=True))
    return sum(weighted) / seconds


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"
