"""A run's progress on standard error."""

from collections.abc import Mapping

from retort.core.progress import ProgressLine
from retort.train.observe.observer import Observer
from retort.train.observe.step import Step
from retort.train.observe.timings import Timing


class Console(Observer):
    """Shows steps as they come, throughput, time left, and evaluations."""

    def __init__(self, total: int, done: int) -> None:
        """
        Args:
            total: the number of the last step.
            done: the step that the run goes on after.
        """
        self._line = ProgressLine(total, f"step {done}/{total}", done)
        self._total, self._marks = total, (done + 1, total)
        self._samples = 0
        self._timing = ""

    def step(self, step: Step) -> None:
        """Show it; the first and the last in any case."""
        self._samples += step.samples
        rate = self._samples / self._line.seconds()
        self._line.show(
            step.number,
            f"step {step.number}/{self._total}",
            f"loss {step.loss:.4f}  lr {step.lr:.2e}  {rate:.1f} samples/s{self._timing}",
            at_once=step.number in self._marks,
        )

    def timing(self, timing: Timing) -> None:
        """Shown with the next step."""
        self._timing = f"  {timing.tokens_per_second:,.0f} tokens/s  MFU {timing.mfu:.1%}"

    def evaluation(self, number: int, metrics: Mapping[str, float]) -> None:
        """A line of its own."""
        values = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        self._line.say(f"step {number}  evaluation  {values}")

    def close(self) -> None:
        """As `Observer.close`."""
        self._line.close()
