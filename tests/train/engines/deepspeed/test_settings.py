"""What DeepSpeed is told follows from the recipe; what it cannot do is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from retort.core.config import find_recipe, load_recipe
from retort.core.errors import ConfigError
from retort.train.engines.deepspeed.settings import deepspeed_settings
from retort.train.engines.open import open_engine
from retort.train.processes.world import World
from retort.train.recipe import DeepSpeedConfig, TrainingRecipe, recipes
from retort.train.timing.phases import PhaseClock


def settings(values: dict[str, Any], **others: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "parameters": 1000,
        "batch": 48,
        "shards": 8,
        "processes": 2,
        "autocast": False,
        "max_grad_norm": 0.5,
    }
    config = DeepSpeedConfig.model_validate(values)
    return deepspeed_settings(config, **{**arguments, **others})


def test_a_shard_is_a_micro_batch_and_a_process_accumulates_its_shards() -> None:
    found = settings({})
    assert found["train_micro_batch_size_per_gpu"] == 6
    assert found["gradient_accumulation_steps"] == 4
    assert found["train_batch_size"] == 48
    assert found["gradient_clipping"] == 0.5


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_the_stage_is_that_of_the_recipe(stage: int) -> None:
    assert settings({"zero_stage": stage})["zero_optimization"]["stage"] == stage


@pytest.mark.parametrize(
    ("offload", "devices"),
    [
        ("none", {}),
        ("optimizer", {"offload_optimizer": "cpu"}),
        ("optimizer_and_parameters", {"offload_optimizer": "cpu", "offload_param": "cpu"}),
    ],
)
def test_what_is_offloaded_goes_to_the_host(offload: str, devices: dict[str, str]) -> None:
    zero = settings({"zero_stage": 3, "offload": offload})["zero_optimization"]
    found = {name: zero[name]["device"] for name in zero if name.startswith("offload")}
    assert found == devices


def test_bfloat16_is_autocast_and_float32_is_what_is_sent() -> None:
    autocast = settings({}, autocast=True)["torch_autocast"]
    assert autocast["enabled"] and autocast["dtype"] == "bfloat16"
    assert autocast["lower_precision_safe_modules"] == []
    assert not settings({})["torch_autocast"]["enabled"]


def test_buffers_are_no_larger_than_the_model() -> None:
    assert settings({}, parameters=77)["zero_optimization"]["reduce_bucket_size"] == 77
    assert settings({}, parameters=10**9)["zero_optimization"]["reduce_bucket_size"] == 2**25


@pytest.mark.parametrize("processes", [3, 16])
def test_processes_that_cannot_share_the_shards_are_refused(processes: int) -> None:
    with pytest.raises(ConfigError, match=rf"train\.shards is 8, which {processes} processes"):
        settings({}, processes=processes)


@pytest.mark.parametrize(
    "values",
    [
        {"zero_stage": 0},
        {"zero_stage": 4},
        {"offload": "disk"},
        {"stage": 2},
        {"zero_stage": 2, "offload": "optimizer_and_parameters"},
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DeepSpeedConfig.model_validate(values)


def test_processes_that_share_a_gpu_are_refused() -> None:
    recipe = load_recipe(TrainingRecipe, find_recipe(recipes(), "smoke", Path()), (), Path()).config
    world = World(0, 2, 0, torch.device("cuda"), shares_gpus=True)
    # The model is not looked at.
    task: Any = None
    with pytest.raises(ConfigError, match="--share-gpus"):
        open_engine(recipe.model_copy(update={"backend": "deepspeed"}), task, world, PhaseClock())
