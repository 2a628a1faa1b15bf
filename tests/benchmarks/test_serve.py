"""The comparison of servers: what it computes from answers, and that a peer answers as the server does."""

import asyncio
from pathlib import Path

import pytest

from benchmarks.serve import main, result
from benchmarks.serve.load import Measured, measure, measure_at
from tests.tiny.checkpoints import LABELS, write_served


def measured(rate: float) -> Measured:
    latencies = [0.001 * number for number in range(1, 101)]
    return Measured(seconds=1 / rate, texts=1, latencies=latencies, labels=["a"], failed=0)


def test_quantiles_are_those_of_the_answers() -> None:
    found = measured(1.0)
    assert [found.quantile(share) for share in (0.5, 0.99, 1.0)] == pytest.approx([0.051, 0.1, 0.1])


@pytest.mark.parametrize(("rate", "reached"), [(1.29, False), (1.31, True)])
def test_a_target_is_held_to_the_busiest(rate: float, reached: bool) -> None:
    runs: result.Runs = {
        "retort": {1: [measured(9.0)], 8: [measured(rate)]},
        "ONNX Runtime, one text at a time": {1: [measured(1.0)], 8: [measured(1.0)]},
    }
    at_load: dict[result.Side, list[Measured]] = {side: [measured(1.0)] for side in runs}
    section = result.section("news", runs, at_load, {side: ["a"] for side in runs})
    assert [target.reached for target in section.targets] == [reached, True]
    assert f"| retort | 8 | {rate:.1f} | 1.00 | 51.0 | 100.0 | 1 of 1 |" in section.text


def test_all_sides_answer_the_same(tmp_path: Path) -> None:
    checkpoint = write_served(tmp_path / "tiny", "portable")
    texts = ["shares rose", "two goals, one win", "the vote was close"]
    said = []
    for command in main._sides(checkpoint, None).values():
        with main._served(command) as port:
            said.append(asyncio.run(measure(port, 2, 0.5, texts)))
    assert all(one.texts > 0 and one.failed == 0 for one in said)
    assert [one.labels for one in said] == [said[0].labels] * len(said)
    assert set(said[0].labels) <= set(LABELS)


def test_an_open_loop_asks_at_its_rate_however_long_answers_take(tmp_path: Path) -> None:
    checkpoint = write_served(tmp_path / "tiny", "portable")
    command = main._sides(checkpoint, None)["retort"]
    with main._served(command) as port:
        found = asyncio.run(measure_at(port, 4, 2.0, ["shares rose"], 50.0))
    assert 30 < found.texts / found.seconds < 75
    assert found.failed == 0
    assert found.latencies == sorted(found.latencies)
