"""Records of throughput: what they count, where they begin, and their summary."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from retort.train.observe.step import Step
from retort.train.observe.timings import (
    OTHER,
    Timekeeper,
    Timing,
    read_timings,
    summary,
    summary_line,
)
from retort.train.observe.timings_file import TimingsFile
from retort.train.timing.peak_flops import PeakFlops
from retort.train.timing.phases import PHASES, PhaseClock
from retort.train.timing.throughput import Meter, ModelCost

TIMING = Timing(
    step=10,
    steps=10,
    seconds=2.0,
    samples_per_second=40.0,
    tokens_per_second=400.0,
    mfu=0.5,
    memory_bytes=100,
    device_memory_bytes=0,
    shares={**dict.fromkeys(PHASES, 0.0), "compute": 0.75, OTHER: 0.25},
)


def step(number: int) -> Step:
    return Step(number, 1.0, (0.5, 0.5), 1e-3, 2.0, samples=8, tokens=80)


def timekeeper(clock: PhaseClock, every: int) -> Timekeeper:
    meter = Meter(ModelCost(6.0, 0.0), PeakFlops(1e6, "a stone"), devices=1)
    return Timekeeper(clock, meter, torch.device("cpu"), every)


def test_a_record_comes_every_few_steps_and_one_for_the_rest() -> None:
    keeper = timekeeper(PhaseClock(), every=3)
    records = [keeper.after(step(number)) for number in range(1, 8)]
    assert [record.step for record in records if record] == [3, 6]
    rest = keeper.rest()
    assert rest is not None
    assert (rest.step, rest.steps) == (7, 1)
    assert keeper.rest() is None


def test_a_resumed_run_keeps_the_rhythm() -> None:
    keeper = timekeeper(PhaseClock(), every=10)
    records = [record for number in range(26, 41) if (record := keeper.after(step(number)))]
    assert [(record.step, record.steps) for record in records] == [(30, 5), (40, 10)]


def test_a_record_has_rates_memory_and_shares_of_its_own_time() -> None:
    clock = PhaseClock()
    with clock.phase("evaluation"):
        time.sleep(0.02)  # before the timekeeper: belongs to no record
    keeper = timekeeper(clock, every=2)
    start = time.perf_counter()
    for number in (1, 2):
        with clock.phase("compute"):
            time.sleep(0.02)
        record = keeper.after(step(number))
    whole = time.perf_counter() - start
    assert record is not None
    assert 0.04 <= record.seconds <= whole
    assert record.samples_per_second == pytest.approx(16 / record.seconds)
    assert record.tokens_per_second == pytest.approx(160 / record.seconds)
    assert record.mfu == pytest.approx(160 * 6 / record.seconds / 1e6)
    assert record.memory_bytes > 1 << 20
    assert record.shares.keys() == {*PHASES, OTHER}
    assert sum(record.shares.values()) == pytest.approx(1.0)
    assert record.shares["compute"] >= 0.04 / record.seconds
    assert record.shares["evaluation"] == 0.0


def test_the_summary_weighs_records_by_their_time() -> None:
    slow = replace(TIMING, step=20, seconds=6.0, samples_per_second=20.0, memory_bytes=300)
    facts = summary([TIMING, slow])
    assert facts["steps"] == 20
    assert facts["seconds"] == 8.0
    assert facts["samples_per_second"] == 25.0
    assert facts["mfu"] == 0.5
    assert facts["memory_bytes"] == 300
    assert facts["shares"] == TIMING.shares
    assert summary([])["samples_per_second"] == 0.0


def test_the_last_line_of_the_log_says_where_time_went_and_what_mfu_is_against() -> None:
    line = summary_line([TIMING], "a measured matmul peak: 50 GFLOP/s in float32 on 2 threads")
    assert line == (
        "10 steps in 2.0 s: 40.0 samples/s, 400 tokens/s, MFU 50.0% against a measured matmul "
        "peak: 50 GFLOP/s in float32 on 2 threads; compute 75.0%, other 25.0%; 0 MiB"
    )


def test_records_are_read_back_and_those_behind_a_resume_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "timings.jsonl"
    file = TimingsFile(path, 0)
    for number in (10, 20, 30):
        file.timing(replace(TIMING, step=number))
    file.close()
    assert [timing.step for timing in read_timings(path)] == [10, 20, 30]
    assert read_timings(path)[0] == TIMING
    resumed = TimingsFile(path, 25)
    resumed.timing(replace(TIMING, step=30, steps=5))
    resumed.close()
    assert [(timing.step, timing.steps) for timing in read_timings(path)] == [
        (10, 10),
        (20, 10),
        (30, 5),
    ]
    assert json.loads(path.read_text().splitlines()[0])["shares"]["compute"] == 0.75
