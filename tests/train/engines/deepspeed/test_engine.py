"""Training by DeepSpeed: what plain PyTorch computes, in real processes, at every stage of ZeRO."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from retort.models.determinism import fix_arithmetic
from tests.processes.deepspeed import (
    FROZEN,
    STEPS,
    Case,
    Trained,
    build,
    train,
    train_plainly,
)
from tests.processes.forks import fork_server_for

server = fork_server_for("retort.train.engines.deepspeed.engine", "tests.processes.deepspeed")

EVERY = [
    Case(1),
    Case(2),
    Case(3),
    Case(2, offload="optimizer"),
    Case(3, offload="optimizer_and_parameters"),
    Case(2, autocast=True),
    Case(3, autocast=True),
    Case(2, family="gpt2"),
    Case(3, family="gpt2"),
]
STAGES = EVERY[:3]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fix_arithmetic(1)
    return tmp_path_factory.mktemp("deepspeed")


@pytest.fixture(scope="module")
def by_two(root: Path) -> dict[Case, Trained]:
    return train(root / "two", 2, EVERY)


@pytest.fixture(scope="module")
def by_two_undisturbed(root: Path, by_two: dict[Case, Trained]) -> dict[Case, Trained]:
    assert by_two
    return train(root / "again", 2, STAGES[1:], resume_from=root / "two")


@pytest.fixture(scope="module")
def by_one(root: Path, by_two: dict[Case, Trained]) -> dict[Case, Trained]:
    assert by_two
    return train(root / "one", 1, STAGES, resume_from=root / "two")


def numbers(losses: list[list[float]]) -> list[float]:
    return [loss for of_step in losses[:STEPS] for loss in of_step]


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=0.0, atol=tolerance)


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)
def test_two_processes_compute_what_plain_pytorch_does(
    by_two: dict[Case, Trained], case: Case
) -> None:
    losses, norms, end = train_plainly(case.family, autocast=case.autocast)
    trained, tolerance = by_two[case], 1e-3 if case.autocast else 1e-6
    assert numbers(trained.losses) == pytest.approx(numbers(losses), abs=tolerance)
    assert trained.norms[:STEPS] == pytest.approx(norms, abs=tolerance)
    assert_close(trained.end, end, tolerance)


@pytest.mark.parametrize("case", STAGES, ids=lambda case: case.name)
def test_one_process_computes_what_plain_pytorch_does(
    by_one: dict[Case, Trained], case: Case
) -> None:
    losses, norms, end = train_plainly()
    trained = by_one[case]
    assert numbers(trained.losses) == pytest.approx(numbers(losses), abs=1e-6)
    assert trained.norms[:STEPS] == pytest.approx(norms, abs=1e-6)
    assert_close(trained.end, end, 1e-6)


@pytest.mark.parametrize("case", EVERY[5:7], ids=lambda case: case.name)
def test_bfloat16_is_that_of_autocast_and_not_float32(
    by_two: dict[Case, Trained], case: Case
) -> None:
    first = by_two[case].losses[0]
    assert first == pytest.approx(train_plainly(autocast=True)[0][0], abs=1e-7)
    assert first != pytest.approx(train_plainly(autocast=False)[0][0], abs=1e-6)


@pytest.mark.parametrize("case", STAGES[1:], ids=lambda case: case.name)
def test_another_run_gives_equal_bits_whether_or_not_its_state_is_read_meanwhile(
    by_two: dict[Case, Trained], by_two_undisturbed: dict[Case, Trained], case: Case
) -> None:
    one, other = by_two[case], by_two_undisturbed[case]
    assert one.losses[:STEPS] == other.losses[:STEPS]
    assert one.norms == other.norms
    assert equal(one.end, other.end)


@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)
def test_a_resumed_training_ends_with_the_bits_of_an_uninterrupted_one(
    by_two: dict[Case, Trained], case: Case
) -> None:
    trained = by_two[case]
    assert equal(trained.resumed, trained.end)
    assert not equal(trained.half, trained.end)


@pytest.mark.parametrize("case", STAGES, ids=lambda case: case.name)
def test_a_state_goes_unchanged_from_two_processes_to_one(
    by_two: dict[Case, Trained], by_one: dict[Case, Trained], case: Case
) -> None:
    assert equal(by_one[case].half, by_two[case].half)
    assert_close(by_one[case].resumed, by_two[case].end, 1e-6)


@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)
def test_the_state_has_every_parameter_and_two_moments_of_every_trained_one(
    by_two: dict[Case, Trained], case: Case
) -> None:
    parameters = dict(build(case.family).named_parameters())
    shapes = {f"model/{name}": each.shape for name, each in parameters.items()}
    for moment in ("exp_avg", "exp_avg_sq"):
        shapes |= {
            f"optimizer/{moment}.{name}": each.shape
            for name, each in parameters.items()
            if name != FROZEN[case.family]
        }
    end = by_two[case].end
    assert {name: values.shape for name, values in end.items()} == shapes
    frozen = FROZEN[case.family]
    assert torch.equal(end[f"model/{frozen}"], parameters[frozen])


@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)
def test_a_loss_that_is_not_a_number_is_told_with_its_shard_and_changes_no_weight(
    by_two: dict[Case, Trained], case: Case
) -> None:
    trained = by_two[case]
    assert torch.tensor(trained.losses[-1]).isnan().tolist() == [False, False, False, True]
    assert trained.norms[-1] == float("inf")
    assert equal(trained.poisoned, trained.end)


def test_nothing_is_left_in_the_home_directory(root: Path, by_two: dict[Case, Trained]) -> None:
    assert by_two
    known = {"meeting"}
    known |= {f"{case.name}.{part}" for case in EVERY for part in ("half", "end", "resumed")}
    known |= {f"{case.name}.{part}" for case in EVERY for part in ("poisoned", "json")}
    assert {path.name for path in (root / "two").iterdir()} == known
