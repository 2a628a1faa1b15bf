"""Sides that take turns: each round runs every side once, so that what the machine does hits all."""

import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.process import python, run_measured
from benchmarks.train.workload import Measured, Workload

Side = Callable[[], Measured]


def module_side(module: str, workload: Workload, *arguments: object) -> Side:
    """A side that is a module of ours which prints `Measured` as its last line."""

    def run() -> Measured:
        command = python(module, *arguments, workload.model_dump_json())
        _, said = run_measured(command, watch=False)
        return Measured(**json.loads(said.splitlines()[-1]))

    return run


@dataclass(frozen=True)
class Comparison:
    """All runs of all sides.

    Attributes:
        runs: by the side's name, one of each round.
        warm_up: steps at the start of each run that are not counted.
    """

    runs: Mapping[str, Sequence[Measured]]
    warm_up: int

    def rate(self, side: str) -> float:
        """Samples a second, the median of the runs."""
        return statistics.median(self.rates(side))

    def rates(self, side: str) -> list[float]:
        """Samples a second of each run."""
        return [one.rate(self.warm_up) for one in self.runs[side]]

    def times_as_fast(self, side: str, other: str) -> float:
        """How many times as fast a side is as another, the median over the rounds."""
        pairs = zip(self.rates(side), self.rates(other), strict=True)
        return statistics.median(one / another for one, another in pairs)

    def cost(self, side: str, other: str) -> float:
        """How much more time a side takes than another, as a share of the other's."""
        return 1 / self.times_as_fast(side, other) - 1


def compare(sides: Mapping[str, Side], *, rounds: int, warm_up: int, what: str) -> Comparison:
    """Run all sides `rounds` times, every second round in the opposite order.

    Args:
        what: is told on standard error beside each run.
    """
    runs: dict[str, list[Measured]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: 1 if number % 2 == 0 else -1]:
            measured = sides[name]()
            runs[name].append(measured)
            rate = measured.rate(warm_up)
            print(f"{what}, {name}: {rate:.2f} samples/s", file=sys.stderr, flush=True)
    return Comparison(runs, warm_up)
