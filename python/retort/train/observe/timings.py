"""How fast a run is and where its time goes: a record every so many steps, and their summary."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from retort.core.digest import JSON
from retort.train.observe.step import Step
from retort.train.observe.step_lines import read_lines
from retort.train.timing.memory_use import memory_use
from retort.train.timing.phases import PHASES, PhaseClock
from retort.train.timing.throughput import Meter

OTHER = "other"


@dataclass(frozen=True)
class Timing:
    """Some steps in a row, as this rank saw them; samples and tokens are those of all ranks.

    Attributes:
        step: the last of them; steps: how many.
        seconds: from the end of the step before them to the end of the last.
        mfu: model FLOPs of all ranks by the peak of their devices.
        memory_bytes: main memory that the process had at most so far.
        device_memory_bytes: tensors on the GPU at most so far; 0 on a CPU.
        shares: of the seconds, for each phase and `other`; they add up to 1.
    """

    step: int
    steps: int
    seconds: float
    samples_per_second: float
    tokens_per_second: float
    mfu: float
    memory_bytes: int
    device_memory_bytes: int
    shares: Mapping[str, float]

    def to_json(self) -> dict[str, JSON]:
        """As a line of timings.jsonl."""
        return asdict(self)


class Timekeeper:
    """Makes a `Timing` of every `every` steps. Make it just before the loop."""

    def __init__(self, clock: PhaseClock, meter: Meter, device: torch.device, every: int) -> None:
        self._clock = clock
        self._meter = meter
        self._device = device
        self._every = every
        self._last: Step | None = None
        self._begin()

    def after(self, step: Step) -> Timing | None:
        """Count a step that was just made; a record where its number is a multiple of `every`."""
        self._last = step
        self._steps += 1
        self._samples += step.samples
        self._tokens += step.tokens
        return self.rest() if step.number % self._every == 0 else None

    def rest(self) -> Timing | None:
        """A record of the steps since the last one, if there are any: for the end of a run."""
        if self._last is None:
            return None
        seconds = perf_counter() - self._start
        shares: dict[str, float] = {
            name: spent / seconds for name, spent in self._clock.take().items()
        }
        memory = memory_use(self._device)
        timing = Timing(
            step=self._last.number,
            steps=self._steps,
            seconds=seconds,
            samples_per_second=self._samples / seconds,
            tokens_per_second=self._tokens / seconds,
            mfu=self._meter.mfu(self._samples, self._tokens, seconds),
            memory_bytes=memory.resident_peak,
            device_memory_bytes=memory.device_peak,
            shares={**shares, OTHER: max(0.0, 1.0 - sum(shares.values()))},
        )
        self._begin()
        return timing

    def _begin(self) -> None:
        self._last = None
        self._steps = self._samples = self._tokens = 0
        self._start = perf_counter()
        self._clock.take()


def read_timings(path: Path) -> list[Timing]:
    """The records of a `timings.jsonl`, those of earlier processes of the run included."""
    records: Iterable[dict[str, Any]] = read_lines(path)
    return [Timing(**record) for record in records]


def summary(timings: Sequence[Timing]) -> dict[str, JSON]:
    """All records as one, for run.json: rates and shares over the whole time, memory at most."""
    seconds = sum(timing.seconds for timing in timings)

    def mean(values: Iterable[float]) -> float:
        """Over time: the value of a record weighs as much as it lasted."""
        pairs = zip(timings, values, strict=True)
        return sum(timing.seconds * value for timing, value in pairs) / max(seconds, 1e-9)

    return {
        "steps": sum(timing.steps for timing in timings),
        "seconds": seconds,
        "samples_per_second": mean(timing.samples_per_second for timing in timings),
        "tokens_per_second": mean(timing.tokens_per_second for timing in timings),
        "mfu": mean(timing.mfu for timing in timings),
        "memory_bytes": max((timing.memory_bytes for timing in timings), default=0),
        "device_memory_bytes": max((timing.device_memory_bytes for timing in timings), default=0),
        "shares": {
            name: mean(timing.shares[name] for timing in timings) for name in (*PHASES, OTHER)
        },
    }


def summary_line(timings: Sequence[Timing], source: str) -> str:
    """The summary as the last line of a run's log.

    Args:
        source: where the peak behind the MFU is from, `PeakFlops.source`.
    """
    facts: dict[str, Any] = summary(timings)
    shares = sorted(facts["shares"].items(), key=lambda one: -one[1])
    spent = ", ".join(f"{name} {share:.1%}" for name, share in shares if share >= 0.0005)
    return (
        f"{facts['steps']} steps in {facts['seconds']:.1f} s: "
        f"{facts['samples_per_second']:,.1f} samples/s, "
        f"{facts['tokens_per_second']:,.0f} tokens/s, "
        f"MFU {facts['mfu']:.1%} against {source}; {spent}; "
        f"{facts['memory_bytes'] / 2**20:,.0f} MiB"
    )
