"""A stopwatch counts the calls that it was given, and changes none of them."""

import time

import pytest

from retort.train.stopwatch import Stopwatch


def test_only_the_time_inside_the_calls_is_counted() -> None:
    watch = Stopwatch()
    wait = watch.timed(time.sleep)
    assert watch.seconds == 0.0
    time.sleep(0.05)
    wait(0.01)
    wait(0.02)
    assert watch.seconds >= 0.03
    before = watch.seconds
    time.sleep(0.01)
    assert watch.seconds == before


def test_arguments_results_and_errors_pass_through() -> None:
    watch = Stopwatch()
    assert watch.timed(divmod)(17, 5) == (3, 2)
    with pytest.raises(ZeroDivisionError):
        watch.timed(divmod)(1, 0)
    assert watch.seconds > 0.0
