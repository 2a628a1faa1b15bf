"""Who watches a run, without a say in it."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from retort.train.observe.step import Step
from retort.train.observe.timings import Timing


class Observer:
    """Is told what happens, in the order in which it happens, by rank 0.

    This one does nothing; others say what they do.
    """

    def step(self, step: Step) -> None:
        """An optimiser step was made."""

    def timing(self, timing: Timing) -> None:
        """How fast the last steps were."""

    def evaluation(self, number: int, metrics: Mapping[str, float]) -> None:
        """The model was measured after step `number`."""

    def sync(self) -> None:
        """A checkpoint is about to be sealed: what was told so far must survive a power cut."""

    def close(self) -> None:
        """The run is over, or was stopped."""


class Observers(Observer):
    """Several observers as one."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def step(self, step: Step) -> None:
        """Tell every one of them, in their order; the same below."""
        for observer in self._observers:
            observer.step(step)

    def timing(self, timing: Timing) -> None:
        """As `Observer.timing`."""
        for observer in self._observers:
            observer.timing(timing)

    def evaluation(self, number: int, metrics: Mapping[str, float]) -> None:
        """As `Observer.evaluation`."""
        for observer in self._observers:
            observer.evaluation(number, metrics)

    def sync(self) -> None:
        """As `Observer.sync`."""
        for observer in self._observers:
            observer.sync()

    def close(self) -> None:
        """Close all of them, also when one cannot be; the first error is raised at the end."""
        with ExitStack() as stack:
            for observer in reversed(self._observers):
                stack.callback(observer.close)
