"""How a command begins, and hears from its first line on that it is to end.

Imported before all else by whatever is run, and so it imports next to nothing.
"""

import gc
import os
import signal
import sys

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""That ask a command to end. One that is ignored stays so, as `nohup` wants it."""
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
_SOON_S = 0.01


class Terminated(BaseException):
    """SIGTERM or SIGHUP has come: unwind, clean up and go."""

    def __init__(self, number: signal.Signals = signal.SIGTERM) -> None:
        super().__init__(number)
        self.number = number


def starting(*, quietly: bool = False) -> None:
    """Have a signal end this process at once, by one line: nothing has begun that is to be undone.

    For the time before `run`, in which a program imports for seconds: an exception raised there is
    a traceback, or lost in a callback of the import system. The garbage collector rests meanwhile.

    Args:
        quietly: whoever started this process has the words, also when `run` has begun.
    """
    listen(unwinds=False, quietly=quietly)
    # Whoever has become this process by exec may have held them back.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    gc.disable()


def imported() -> None:
    """Take what has been imported for good, and have the garbage collector look after the rest.

    PyTorch and transformers are 400,000 objects that stay. To search them again and again while they
    come takes a quarter of the time of importing them.
    """
    gc.freeze()
    gc.enable()


class nothing_begun:  # noqa: N801 - a context manager, which contextlib would take long to import
    """As `starting`, for imports of a command that runs already."""

    def __enter__(self) -> None:
        self._before = {number: signal.getsignal(number) for number in SIGNALS}
        listen(unwinds=False)
        gc.disable()

    def __exit__(self, *_: object) -> None:
        imported()
        for number, handler in self._before.items():
            signal.signal(number, handler)


def deliver_again(lost: "sys.UnraisableHookArgs") -> None:
    """Have a signal come once more that came in a callback, whose exceptions are dropped.

    What `sys.unraisablehook` is while a command runs.
    """
    if isinstance(lost.exc_value, KeyboardInterrupt | Terminated):
        listen(unwinds=True)
        deliver(number_of(lost.exc_value))
    else:
        sys.__unraisablehook__(lost)


def number_of(asked: "KeyboardInterrupt | Terminated") -> signal.Signals:
    """The signal that such an exception stands for."""
    return signal.SIGINT if isinstance(asked, KeyboardInterrupt) else asked.number


def deliver(number: int) -> None:
    """Send this process a signal in a moment, when the caller has returned."""
    import threading  # takes long to import, and is hardly ever needed

    threading.Timer(_SOON_S, os.kill, (os.getpid(), number)).start()


class _Handler:
    """What a signal does: raise where the program is, or end it at once."""

    def __init__(self, unwinds: bool, quietly: bool) -> None:
        self.unwinds = unwinds
        self.quietly = quietly

    def __call__(self, number: int, _frame: object) -> None:
        if not self.unwinds:
            if not self.quietly:
                os.write(2, f"{words(number)}\n".encode())
            os._exit(128 + number)
        listen(unwinds=False)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Terminated(signal.Signals(number))


def listen(*, unwinds: bool, quietly: bool = False) -> bool:
    """Have signals raise `KeyboardInterrupt` or `Terminated` once, or end the process at once.

    Returns:
        Whether that is without a word, as it is after `starting(quietly=True)`.
    """
    there = {number: signal.getsignal(number) for number in SIGNALS}
    quietly = quietly or any(isinstance(one, _Handler) and one.quietly for one in there.values())
    for number, handler in there.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, _Handler(unwinds, quietly))
    return quietly


def words(number: int) -> str:
    """What a command says that a signal has ended."""
    return f"{_WORDS[signal.Signals(number)]}: nothing half-written is left"
