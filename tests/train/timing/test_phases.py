"""A clock of phases: time counts once, for the innermost phase."""

import time
import timeit

import pytest

from retort.train.timing.phases import PHASES, PhaseClock


def test_a_phase_has_the_time_inside_it_and_no_other() -> None:
    clock = PhaseClock()
    time.sleep(0.02)
    with clock.phase("data"):
        time.sleep(0.01)
    with clock.phase("compute"):
        pass
    with clock.phase("data"):
        time.sleep(0.01)
    start = time.perf_counter()
    time.sleep(0.02)
    taken = clock.take()
    assert taken.keys() == set(PHASES)
    assert taken["data"] >= 0.02
    assert taken["compute"] < taken["data"]
    assert taken["checkpoint"] == 0.0
    assert time.perf_counter() - start >= 0.02


def test_an_inner_phase_pauses_the_one_around_it() -> None:
    clock = PhaseClock()
    start = time.perf_counter()
    with clock.phase("compute"):
        time.sleep(0.005)
        with clock.phase("communication"):
            time.sleep(0.03)
            with clock.phase("compute"):
                time.sleep(0.005)
        time.sleep(0.005)
    whole = time.perf_counter() - start
    taken = clock.take()
    assert taken["communication"] >= 0.03
    assert taken["compute"] >= 0.015
    assert sum(taken.values()) <= whole


def test_what_was_taken_is_not_given_again_and_an_open_phase_goes_on() -> None:
    clock = PhaseClock()
    with clock.phase("evaluation"):
        time.sleep(0.01)
        first = clock.take()["evaluation"]
        time.sleep(0.01)
    second = clock.take()["evaluation"]
    assert first >= 0.01
    assert second >= 0.01
    assert sum(clock.take().values()) == 0.0


def test_a_phase_ends_where_an_error_leaves_it() -> None:
    clock = PhaseClock()
    with pytest.raises(ZeroDivisionError), clock.phase("compute"), clock.phase("data"):
        time.sleep(0.01)
        raise ZeroDivisionError
    assert clock.take()["data"] >= 0.01
    time.sleep(0.01)
    assert sum(clock.take().values()) == 0.0


def test_phases_measured_in_a_row_lose_no_time_between_their_own() -> None:
    clock = PhaseClock()

    def use() -> None:
        with clock.phase("data"):
            pass

    count = 2000
    seconds = timeit.timeit(use, number=count)
    assert 0.0 < clock.take()["data"] <= seconds
