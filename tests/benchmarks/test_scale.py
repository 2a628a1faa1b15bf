"""The formulas of the exchange at scale are what processes really send."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks.scale.costs import Network, all_reduce, contract, fsdp, sliced
from benchmarks.scale.main import MODELS, paper, write_picture
from retort.core.forks.client import run
from tests.processes.forks import fork_server_for

server = fork_server_for("benchmarks.scale.counted")
BLOCKS = 12
WEIGHTS = BLOCKS << 16
"""A multiple of the blocks of 1, 2, 3 and 4 ranks, so that nothing is filled up."""


@pytest.mark.parametrize(("size", "shards"), [(1, 2), (2, 8), (3, 8), (4, 8), (3, 64)])
def test_ranks_send_what_the_formulas_say(size: int, shards: int) -> None:
    words = ("--world-size", size, "--shards", shards, "--weights", WEIGHTS)
    done = run(["benchmarks.scale.counted", *map(str, words)])
    assert done.returncode == 0, done.stderr
    ranks = json.loads(done.stdout.splitlines()[-1])
    told = contract(WEIGHTS, size, shards)
    assert len(ranks) == size
    assert max(one["sent"] for one in ranks) == told.sent
    assert max(one["messages"] for one in ranks) == told.messages


def test_memory_falls_with_ranks_only_where_weights_are_shared_out() -> None:
    for model in MODELS.values():
        held = [sliced(model.weights, size, size, model.largest).held for size in (8, 64, 512)]
        assert held == sorted(held, reverse=True)
        assert contract(model.weights, 512, 512).held > 2 * 4 * model.weights
        assert all_reduce(model.weights, 512).held == 16 * model.weights
        assert (
            fsdp(model.weights, 512, model.largest).held
            < 16 * model.weights / 100 + 8 * model.largest
        )


def test_time_is_bytes_and_messages() -> None:
    cost = contract(1_000_000, 2, 2)
    assert cost.seconds(Network("", 1e6, 0.0)) == pytest.approx(4.0)
    assert cost.seconds(Network("", 1e18, 1.0)) == pytest.approx(cost.messages)


def test_the_page_has_every_model_and_a_picture(tmp_path: Path) -> None:
    text = paper("scale.svg").text
    assert all(name in text for name in MODELS)
    assert "Three ranks of 64 shards hand over" in text
    write_picture(tmp_path / "scale.svg")
    assert ET.parse(tmp_path / "scale.svg").getroot().tag.endswith("svg")
