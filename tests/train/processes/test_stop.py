import os
import signal

import pytest

from retort.core.signals import Terminated
from retort.train.processes.stop import stop_request


@pytest.mark.parametrize(
    ("number", "end"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)]
)
def test_the_first_signal_is_a_flag_and_leaving_ends_as_it_asks(
    number: int, end: type[BaseException]
) -> None:
    with stop_request() as stop:
        before = stop.requested
        os.kill(os.getpid(), number)
        assert (before, stop.requested) == (False, True)
        with pytest.raises(end):
            stop.leave()


def test_the_second_signal_ends_at_once() -> None:
    with stop_request(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)


def test_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_request():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
