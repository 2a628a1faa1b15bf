"""Processes that train a tiny BERT by DeepSpeed together, and the same training in plain PyTorch.

Run as `python -m tests.processes.deepspeed JOB` by `train`, which says what a job is.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed, nn
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel

from retort.core.forks.client import Captured
from retort.models.determinism import fix_arithmetic, seed_from
from retort.train.engines.deepspeed.engine import DeepSpeedEngine, DeepSpeedSettings
from retort.train.processes.world import World
from retort.train.recipe import DeepSpeedConfig
from retort.train.timing.phases import PhaseClock
from tests.tiny import training
from tests.tiny.training import BETAS, RATES, parameter_groups

SHARDS, STEPS, HALF, SEED = 4, 4, 2, 11
EPS, CLIP = 1e-4, 0.5
FROZEN = {"bert": training.FROZEN, "gpt2": "transformer.wpe.weight"}
POISONED = (STEPS, SHARDS - 1)
"""Step and shard whose loss is not a number."""
Batch = tuple[Tensor, Tensor, float]


@dataclass(frozen=True)
class Case:
    """A way of running ZeRO."""

    stage: int
    offload: str = "none"
    autocast: bool = False
    family: str = "bert"

    @property
    def name(self) -> str:
        precision = "bfloat16" if self.autocast else "float32"
        return f"{self.family}-{self.stage}-{self.offload}-{precision}"


@dataclass(frozen=True)
class Trained:
    """What rank 0 saw of a case.

    Attributes:
        losses, norms: of each step, the poisoned one last.
        half, end, poisoned: the state, by "file/name", after so many steps.
        resumed: the state at the end of the training that began with `half`.
    """

    losses: list[list[float]]
    norms: list[float]
    half: dict[str, Tensor]
    end: dict[str, Tensor]
    poisoned: dict[str, Tensor]
    resumed: dict[str, Tensor]


def build(family: str = "bert") -> nn.Module:
    """A model with dropout, some tensors of which do not divide by two; one tensor is frozen.

    Args:
        family: bert is a classifier; gpt2 a language model whose first and last layer share.
    """
    if family == "bert":
        return training.build()
    torch.manual_seed(7)
    config = GPT2Config(
        vocab_size=61, n_positions=16, n_embd=18, n_layer=2, n_head=2, resid_pdrop=0.2
    )
    model = GPT2LMHeadModel(config)
    model.get_parameter(FROZEN[family]).requires_grad_(False)
    return model


def micro_batch(step: int, shard: int) -> Batch:
    """Three documents of a shard."""
    random = torch.Generator().manual_seed(step * SHARDS + shard)
    ids = torch.randint(0, 61, (3, 9), generator=random)
    return ids, ids.sum(dim=1) % 3, float("nan") if (step, shard) == POISONED else 1.0


def loss_of(model: nn.Module, batch: Batch, step: int) -> Tensor:
    """The share of a step's loss that a shard has, [1]; later steps weigh more."""
    ids, labels, factor = batch
    logits = model(input_ids=ids).logits
    if logits.ndim == 3:
        logits, labels = logits[:, -1], ids[:, 0]
    total = cross_entropy(logits, labels, reduction="sum")
    return total.reshape(1) * factor * (1 + step) / (3 * SHARDS)


def train_plainly(
    family: str = "bert", *, autocast: bool = False
) -> tuple[list[list[float]], list[float], dict[str, Tensor]]:
    """The same steps by one process and PyTorch alone: losses, norms, and the state at the end."""
    model = build(family).train()
    weights = dict(model.named_parameters())
    optimizer = training.open_optimizer(model, eps=EPS, fused=False)
    losses, norms = [], []
    for step, rate in enumerate(RATES):
        shares = []
        for shard in range(SHARDS):
            batch = micro_batch(step, shard)
            torch.manual_seed(seed_from(SEED, "dropout", step, shard))
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                share = loss_of(model, batch, step)
            share.backward()  # type: ignore[no-untyped-call]
            shares.append(share.item())
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), CLIP).item())
        training.update(optimizer, rate)
        losses.append(shares)
    end = {f"model/{name}": each.detach() for name, each in weights.items()}
    for name, weight in weights.items():
        if weight.requires_grad:
            for moment in ("exp_avg", "exp_avg_sq"):
                end[f"optimizer/{moment}.{name}"] = optimizer.state[weight][moment]
    return losses, norms, end


def train(
    directory: Path, size: int, cases: Sequence[Case], resume_from: Path | None = None
) -> dict[Case, Trained]:
    """Have `size` processes train each case twice: to the end, and from its half to the end.

    Args:
        resume_from: directory of another call, whose halves are resumed instead of their own.
            Then the first training does not look at its state or evaluate at its half either.
    """
    directory.mkdir()
    job = {
        "directory": str(directory),
        "size": size,
        "cases": [dataclasses.asdict(case) for case in cases],
        "resume_from": resume_from and str(resume_from),
    }
    home = {**os.environ, "HOME": str(directory)}
    processes = [
        Captured(["tests.processes.deepspeed", json.dumps({**job, "rank": rank})], home)
        for rank in range(size)
    ]
    for process in processes:
        done = process.wait()
        assert done.returncode == 0, done.stderr
        assert done.stdout == "", "DeepSpeed spoke on standard output"
    return {case: _read(directory, case) for case in cases}


def _read(directory: Path, case: Case) -> Trained:
    facts = json.loads((directory / f"{case.name}.json").read_text())
    states = {
        part: load_file(directory / f"{case.name}.{part}")
        for part in ("half", "end", "poisoned", "resumed")
    }
    return Trained(losses=facts["losses"], norms=facts["norms"], **states)


def _main(job: dict[str, Any]) -> None:
    directory, rank, size = Path(job["directory"]), job["rank"], job["size"]
    source = Path(job["resume_from"] or directory)
    fix_arithmetic(1)
    if size > 1:
        meeting = f"file://{directory}/meeting"
        distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
    world = World(rank, size, rank, torch.device("cpu"))
    for values in job["cases"]:
        _train(Case(**values), world, directory, source)


def _train(case: Case, world: World, directory: Path, source: Path) -> None:
    engine, model = _engine(case, world)
    outcomes = [engine.step(step, RATES[step]) for step in range(HALF)]
    if source == directory:
        _write(engine, case, directory / f"{case.name}.half", world)
        model.eval()
        with torch.no_grad():
            model(input_ids=micro_batch(0, 0)[0])
        model.train()
    outcomes += [engine.step(step, RATES[step]) for step in range(HALF, STEPS)]
    _write(engine, case, directory / f"{case.name}.end", world)
    outcomes.append(engine.step(POISONED[0], RATES[0]))
    _write(engine, case, directory / f"{case.name}.poisoned", world)
    facts = {
        "losses": [outcome.losses for outcome in outcomes],
        "norms": [outcome.gradient_norm for outcome in outcomes],
    }
    if world.is_main:
        (directory / f"{case.name}.json").write_text(json.dumps(facts))

    half = load_file(source / f"{case.name}.half")
    resumed, _ = _engine(case, world, spoiled=1.0)
    resumed.restore(lambda file, name: half[f"{file}/{name}"], HALF)
    if source != directory:
        _write(resumed, case, directory / f"{case.name}.half", world)
    for step in range(HALF, STEPS):
        resumed.step(step, RATES[step])
    _write(resumed, case, directory / f"{case.name}.resumed", world)


def _engine(case: Case, world: World, spoiled: float = 0.0) -> tuple[DeepSpeedEngine, nn.Module]:
    model = build(case.family)
    for weight in model.parameters():
        weight.data += spoiled
    settings = DeepSpeedSettings(
        zero=DeepSpeedConfig.model_validate({"zero_stage": case.stage, "offload": case.offload}),
        seed=SEED,
        batch=3 * SHARDS,
        shards=SHARDS,
        autocast=case.autocast,
        betas=BETAS,
        eps=EPS,
        max_grad_norm=CLIP,
    )
    groups = parameter_groups(model)
    engine = DeepSpeedEngine(
        model, groups, settings, world, micro_batch=micro_batch, loss=loss_of, clock=PhaseClock()
    )
    return engine, model


def _write(engine: DeepSpeedEngine, case: Case, file: Path, world: World) -> None:
    shapes = {name: each.shape for name, each in build(case.family).named_parameters()}
    found = {}
    for part in engine.slices():
        assert part.values.ndim == 1 and part.offset == 0 and part.values.dtype == torch.float32
        parameter = part.name.removeprefix("exp_avg.").removeprefix("exp_avg_sq.")
        found[f"{part.file}/{part.name}"] = part.values.reshape(shapes[parameter])
    assert world.is_main or not found
    if world.is_main:
        save_file(found, file)
    world.barrier(file.name)


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
