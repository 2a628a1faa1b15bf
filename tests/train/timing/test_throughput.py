"""Model FLOPs against counted operations; peaks; memory."""

import time
from collections.abc import Iterator
from itertools import chain, repeat
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

from retort.models.packed.tree import WeightTree
from retort.train.timing.memory_use import memory_use
from retort.train.timing.peak_flops import PeakFlops, data_sheet_flops, least_seconds, peak_of
from retort.train.timing.throughput import Meter, ModelCost

CPU = torch.device("cpu")


def small_bert() -> BertModel:
    """A body without a pooler: every weight but those of the tables meets every token."""
    config = BertConfig(
        vocab_size=50,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=64,
    )
    config._attn_implementation = "eager"
    return BertModel(config, add_pooling_layer=False)


def counted(model: nn.Module, ids: torch.Tensor) -> int:
    """Operations of forward and backward, as PyTorch counts those of its matrix products."""
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids)[0].sum().backward()
    return int(counter.get_total_flops())


def test_the_cost_of_an_encoder_is_what_it_computes() -> None:
    model = small_bert()
    ids = torch.randint(50, (2, 32))
    cost = ModelCost.of(model, layers=3, hidden=64)
    assert cost == ModelCost.of(WeightTree(model.config), layers=3, hidden=64)
    assert cost.flops(samples=2, tokens=64) == pytest.approx(counted(model, ids), rel=0.02)


@pytest.mark.parametrize("tied", [True, False])
def test_an_output_layer_counts_whether_it_is_the_embedding_or_not(tied: bool) -> None:
    config = LlamaConfig(
        vocab_size=500,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        tie_word_embeddings=tied,
    )
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config)
    ids = torch.randint(500, (2, 32))
    cost = ModelCost.of(model, layers=2, hidden=64)
    assert cost == ModelCost.of(WeightTree(config), layers=2, hidden=64)
    assert cost.flops(samples=2, tokens=64) == pytest.approx(counted(model, ids), rel=0.02)


def test_frozen_lower_layers_cost_their_forward_only() -> None:
    model = small_bert()
    model.embeddings.requires_grad_(False)
    for layer in model.encoder.layer[:2]:
        layer.requires_grad_(False)
    cost = ModelCost.of(model, layers=3, hidden=64).flops(samples=2, tokens=64)
    # The lowest trained layer needs no gradient of its input either: that is what is left over.
    assert cost == pytest.approx(counted(model, torch.randint(50, (2, 32))), rel=0.1)
    model.requires_grad_(True)
    assert ModelCost.of(model, layers=3, hidden=64).flops(samples=2, tokens=64) > 1.7 * cost


def test_padding_is_no_work_and_longer_samples_are_more() -> None:
    cost = ModelCost(per_token=6.0, per_pair=1.0)
    assert cost.flops(samples=1, tokens=10) == 60 + 100
    assert cost.flops(samples=10, tokens=10) == 60 + 10


def test_mfu_is_the_share_of_what_all_devices_could_do() -> None:
    meter = Meter(ModelCost(6.0, 0.0), PeakFlops(300.0, "a stone"), devices=2)
    assert meter.mfu(samples=1, tokens=100, seconds=2.0) == 0.5


@pytest.mark.parametrize(
    ("name", "precision", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989.5),
        ("NVIDIA H100 PCIe", "bfloat16", 756.5),
        ("NVIDIA H100 NVL", "float32", 60.0),
        ("NVIDIA H200", "float32", 67.0),
        ("NVIDIA GH200 480GB", "bfloat16", 990.0),
        ("NVIDIA A100-SXM4-80GB", "bfloat16", 312.0),
        ("NVIDIA A10G", "bfloat16", 70.0),
        ("NVIDIA A10", "bfloat16", 125.0),
        ("NVIDIA L4", "bfloat16", 121.0),
        ("NVIDIA L40S", "bfloat16", 362.05),
        ("Tesla T4", "float32", 8.1),
    ],
)
def test_a_gpu_is_known_by_its_name(name: str, precision: str, tera: float) -> None:
    assert data_sheet_flops(name, "bfloat16" if precision == "bfloat16" else "float32") == (
        pytest.approx(tera * 1e12)
    )


def test_a_gpu_without_a_data_sheet_in_this_precision_is_not_guessed() -> None:
    assert data_sheet_flops("Tesla T4", "bfloat16") is None
    assert data_sheet_flops("Some Other Card", "float32") is None


@pytest.mark.parametrize("portable", [False, True])
def test_the_peak_of_a_cpu_is_measured_and_says_so_and_draws_no_random_numbers(
    portable: bool,
) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    peak = peak_of(CPU, "float32", portable=portable)
    assert torch.equal(torch.get_rng_state(), before)
    assert peak.flops > 1e8
    assert peak.source.startswith("a measured matmul peak: ")
    assert f"float32 on {torch.get_num_threads()} threads" in peak.source


def test_what_a_try_waited_for_a_core_is_not_counted() -> None:
    def wait() -> None:
        time.sleep(0.02)  # as long as another process has the core

    assert least_seconds(wait, cores=1) < 0.02 <= least_seconds(wait, cores=None)


def test_a_clock_that_was_read_at_the_wrong_moment_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spent = chain([0.001, 0.002], repeat(0.02))

    def ticks() -> Iterator[float]:
        now = 0.0
        for one in spent:
            yield now
            now += one
            yield now

    times = ticks()
    clock = SimpleNamespace(perf_counter=time.perf_counter, process_time=lambda: next(times))
    monkeypatch.setattr("retort.train.timing.peak_flops.time", clock)
    assert least_seconds(lambda: time.sleep(0.03), cores=1) == pytest.approx(0.02)


def test_work_is_shared_out_among_its_cores() -> None:
    matrix = torch.ones(400, 400)

    def work() -> None:
        torch.matmul(matrix, matrix)

    assert 0 < least_seconds(work, cores=1000) < least_seconds(work, cores=1)


def test_memory_counts_what_is_held_and_remembers_the_most() -> None:
    before = memory_use(CPU)
    held = torch.ones(64 << 20, dtype=torch.uint8)
    during = memory_use(CPU)
    assert during.resident >= before.resident + (32 << 20)
    del held
    after = memory_use(CPU)
    assert after.resident_peak >= before.resident + (32 << 20)
    assert after.resident < during.resident
    assert (after.device, after.device_peak) == (0, 0)
