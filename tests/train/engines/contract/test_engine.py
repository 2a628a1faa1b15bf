"""The contract: one result to the last bit, whatever the number of processes. DDP has several."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from retort.models.determinism import fix_arithmetic, seed_from
from retort.train.engines.engine import Outcome
from retort.train.processes.world import PeerLost, World
from tests.processes.contract import (
    APART,
    BFLOAT16,
    CASES,
    CONTROLS,
    ONE_BUCKET,
    SEED,
    SMALL_BUCKETS,
    STAGED,
    STEPS,
    USUAL,
    WORLDS,
    Case,
    Trained,
    open_engine,
    train,
)
from tests.tiny.training import (
    CLIP,
    FROZEN,
    RATES,
    Batch,
    build,
    loss_of,
    micro_batch,
    open_optimizer,
    update,
)

TOGETHER = [(size, case) for size in WORLDS[1:] for case in CASES if case.shards >= size]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Trained]]:
    return train(tmp_path_factory.mktemp("contract"))


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def name_of(value: object) -> str:
    return value.name if isinstance(value, Case) else str(value)


@pytest.mark.parametrize(("size", "case"), TOGETHER, ids=name_of)
def test_processes_together_compute_the_bits_of_one(
    trained: dict[int, dict[str, Trained]], size: int, case: Case
) -> None:
    one, several = trained[1][case.name], trained[size][case.name]
    assert several.outcomes == one.outcomes
    assert equal(several.half, one.half)
    assert equal(several.end, one.end)


@pytest.mark.parametrize(("size", "case"), [(1, BFLOAT16), *TOGETHER], ids=name_of)
def test_a_training_that_another_number_of_processes_goes_on_with_ends_with_the_same_bits(
    trained: dict[int, dict[str, Trained]], size: int, case: Case
) -> None:
    one = trained[1][case.name]
    assert equal(trained[size][case.name].resumed, one.end)
    assert not equal(one.half, one.end)


def test_stock_ddp_of_two_processes_computes_other_bits_than_of_one(
    trained: dict[int, dict[str, Trained]],
) -> None:
    one, two = trained[1]["ddp"], trained[2]["ddp"]
    assert not equal(one.end, two.end)
    assert one.outcomes[0].losses == two.outcomes[0].losses, "until the first sum all is equal"


@pytest.mark.parametrize("size", CONTROLS)
def test_the_contract_learns_what_stock_ddp_does(
    trained: dict[int, dict[str, Trained]], size: int
) -> None:
    ours, ddp = trained[size][BFLOAT16.name], trained[size]["ddp"]
    for mine, other in zip(ours.outcomes, ddp.outcomes, strict=True):
        assert mine.losses == pytest.approx(other.losses, abs=1e-3)
        assert mine.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-2)
    for name, values in ddp.end.items():
        torch.testing.assert_close(ours.end[name], values, rtol=0.0, atol=2e-3)


@pytest.mark.parametrize("size", WORLDS)
@pytest.mark.parametrize("case", [SMALL_BUCKETS, ONE_BUCKET], ids=name_of)
def test_the_length_of_buckets_changes_no_bit(
    trained: dict[int, dict[str, Trained]], size: int, case: Case
) -> None:
    assert equal(trained[size][case.name].end, trained[1][BFLOAT16.name].end)


@pytest.mark.parametrize("size", WORLDS[1:])
def test_ranks_of_one_machine_read_each_others_memory_to_the_bits_of_sockets(
    trained: dict[int, dict[str, Trained]], size: int
) -> None:
    shared = trained[size][BFLOAT16.name]
    assert shared.exchange == "SharedExchange"
    for case, name in ((APART, "GradientExchange"), (STAGED, "StagedExchange")):
        other = trained[size][case.name]
        assert other.exchange == name
        assert shared.outcomes == other.outcomes
        assert equal(shared.end, other.end)


def test_a_rank_that_is_lost_before_the_first_step_is_a_lost_peer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer")

    name = "retort.train.engines.contract.engine.shared_vectors"
    monkeypatch.setattr(name, broken)
    with pytest.raises(PeerLost, match="lost another rank while the ranks were sharing memory"):
        open_engine(USUAL.settings, World(0, 2, 0, torch.device("cpu")))


def test_other_shards_are_another_training(trained: dict[int, dict[str, Trained]]) -> None:
    assert not equal(trained[1]["six shards"].end, trained[1]["usual"].end)


def test_what_is_compared_was_clipped_and_every_loss_is_there(
    trained: dict[int, dict[str, Trained]],
) -> None:
    for case in CASES:
        for outcome in trained[1][case.name].outcomes:
            assert outcome.gradient_norm > CLIP
            assert len(outcome.losses) == case.shards
            assert min(outcome.losses) > 0.0


def test_the_state_is_every_weight_and_two_moments_of_each_that_is_trained(
    trained: dict[int, dict[str, Trained]],
) -> None:
    sizes = {name: one.numel() for name, one in build().named_parameters()}
    expected = {f"model/{name}": size for name, size in sizes.items()}
    for moment in ("exp_avg", "exp_avg_sq"):
        expected |= {
            f"optimizer/{moment}.{name}": size for name, size in sizes.items() if name != FROZEN
        }
    for size in WORLDS:
        end = trained[size][USUAL.name].end
        assert {name: len(values) for name, values in end.items()} == expected
        assert torch.equal(end[f"model/{FROZEN}"], build().get_parameter(FROZEN).view(-1))


def plainly(shards: int, clip: float) -> tuple[list[Outcome], dict[str, Tensor]]:
    """The same steps by PyTorch alone: accumulate, clip, update."""
    model = build().train()
    optimizer = open_optimizer(model)
    outcomes = []
    for step in range(STEPS):
        losses = []
        for shard in range(shards):
            torch.manual_seed(seed_from(SEED, "dropout", step, shard))
            loss = loss_of(model, micro_batch(step, shard), step)
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.item())
        norm = nn.utils.clip_grad_norm_(model.parameters(), clip).item()
        update(optimizer, RATES[step])
        outcomes.append(Outcome(tuple(losses), norm))
    return outcomes, {name: each.detach() for name, each in model.named_parameters()}


def by_contract(shards: int, clip: float) -> tuple[list[Outcome], dict[str, Tensor]]:
    engine, model = open_engine(replace(USUAL.settings, shards=shards, max_grad_norm=clip))
    outcomes = [engine.step(step, RATES[step]) for step in range(STEPS)]
    return outcomes, {name: each.detach() for name, each in model.named_parameters()}


def test_one_shard_without_clipping_is_plain_pytorch_to_the_last_bit() -> None:
    fix_arithmetic(1)
    (ours, end), (theirs, expected) = by_contract(1, 1e6), plainly(1, 1e6)
    assert [one.losses for one in ours] == [one.losses for one in theirs]
    assert equal(end, expected)
    assert not equal(end, dict(build().named_parameters()))


@pytest.mark.parametrize("shards", [1, 2, 7])
def test_clipping_is_that_of_pytorch(shards: int) -> None:
    fix_arithmetic(1)
    (ours, end), (theirs, expected) = by_contract(shards, 0.05), plainly(shards, 0.05)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.gradient_norm > 0.05
        assert mine.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-3)
        assert mine.losses == pytest.approx(other.losses, abs=1e-4)
    for name, values in expected.items():
        torch.testing.assert_close(end[name], values, rtol=0.0, atol=1e-4)
    unclipped = by_contract(shards, 1e6)[1]
    assert any((unclipped[name] - end[name]).abs().max() > 1e-3 for name in end)


def test_a_loss_that_is_not_a_number_is_told_with_its_shard() -> None:
    fix_arithmetic(1)
    numbers = iter(range(8))

    def poisoned(model: nn.Module, batch: Batch, step: int) -> Tensor:
        return loss_of(model, batch, step) * (float("nan") if next(numbers) == 5 else 1.0)

    engine, _ = open_engine(USUAL.settings, loss=poisoned)
    outcome = engine.step(0, RATES[0])
    assert [number for number, loss in enumerate(outcome.losses) if math.isnan(loss)] == [5]
    assert math.isnan(outcome.gradient_norm)
