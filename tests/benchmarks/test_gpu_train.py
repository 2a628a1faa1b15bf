"""The comparison on a GPU: what it computes from times."""

from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification

from benchmarks.train.comparison import Comparison
from benchmarks.train.gpu import CONTRACT, DETERMINISTIC, PLAIN, WHOLE, result, write_encoder
from benchmarks.train.workload import Measured, Workload
from retort.train.timing.peak_flops import PeakFlops
from retort.train.timing.throughput import ModelCost
from tests.tiny.inputs import write_weights

WORKLOAD = Workload(
    store=Path("tokens"),
    weights=Path("weights"),
    steps=2,
    batch=8,
    shards=2,
    max_tokens=16,
    lr=1e-3,
    threads=1,
)


@pytest.mark.parametrize(("seals", "reached"), [("11", True), ("12", False)])
def test_cost_utilisation_and_seals_are_told(seals: str, reached: bool) -> None:
    runs = {
        side: [Measured([9.0, 0.5], 8, [100, 80], digest=seal) for seal in seals]
        for side in (CONTRACT, PLAIN, DETERMINISTIC, WHOLE)
    }
    cost, peak = ModelCost(per_token=1e6, per_pair=0.0), PeakFlops(1e9, "a sheet")
    section = result(Comparison(runs, warm_up=1), WORKLOAD, cost, peak)
    assert [one.reached for one in section.targets] == [True, reached]
    assert f"| {CONTRACT} | 16.0 | 160 | 16.0% | 1.00 |" in section.text


def test_the_encoder_is_read_as_pretrained_weights(tmp_path: Path) -> None:
    tokenizer = write_weights(tmp_path / "tiny") / "tokenizer.json"
    shape = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128}
    written = write_encoder(tmp_path / "weights", tokenizer, shape, 16)
    read = AutoModelForSequenceClassification.from_pretrained(tmp_path / "weights", num_labels=3)
    names = dict(read.bert.named_parameters())
    assert all(
        weight.equal(names[name]) for name, weight in written.named_parameters() if name in names
    )
