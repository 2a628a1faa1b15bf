"""Processes that train a tiny BERT by the contract's engine together, and by stock DDP beside it.

`train` runs `python -m tests.processes.contract DIRECTORY`. That imports once what takes long, and
forks the processes of one world after the other.
"""

import dataclasses
import json
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from retort.models.determinism import seed_from
from retort.train.engines.contract.engine import ContractEngine
from retort.train.engines.contract.settings import ContractSettings
from retort.train.engines.contract.tree import share_of
from retort.train.engines.engine import Loss, Outcome
from retort.train.processes.world import World
from retort.train.timing.phases import PhaseClock
from tests.processes.forked_worlds import run_worlds
from tests.tiny.training import (
    BETAS,
    CLIP,
    EPS,
    RATES,
    build,
    loss_of,
    micro_batch,
    open_optimizer,
    parameter_groups,
    update,
)

_NOBODY = 1 << 23
"""More than there are process numbers."""
WORLDS, CONTROLS = (1, 2, 3, 4, 8), (1, 2)
STEPS, HALF, SEED = 4, 2, 11
ALONE = World(0, 1, 0, torch.device("cpu"))


@dataclass(frozen=True)
class Case:
    """A way of training.

    Attributes:
        bucket, block: how the gradient is cut up; see `ContractSettings`.
        apart: whether ranks are as if each were on a machine of its own, where no other finds its process.
        staged: whether they trade as those that share a GPU.
    """

    name: str
    shards: int
    autocast: bool
    bucket: int
    block: int
    apart: bool = False
    staged: bool = False

    @property
    def settings(self) -> ContractSettings:
        """The engine's."""
        return ContractSettings(
            seed=SEED,
            shards=self.shards,
            autocast=self.autocast,
            betas=BETAS,
            eps=EPS,
            max_grad_norm=CLIP,
            bucket=self.bucket,
            block=self.block,
        )


BFLOAT16 = Case("bfloat16", 8, True, 2048, 256)
SMALL_BUCKETS = dataclasses.replace(BFLOAT16, name="small buckets", bucket=1)
ONE_BUCKET = dataclasses.replace(BFLOAT16, name="one bucket", bucket=1 << 20)
APART = dataclasses.replace(BFLOAT16, name="apart", apart=True)
STAGED = dataclasses.replace(SMALL_BUCKETS, name="staged", apart=True, staged=True)
SIX = Case("six shards", 6, False, 2048, 256)
USUAL = Case("usual", 8, False, 4 << 20, 1 << 16)
CASES = (BFLOAT16, SMALL_BUCKETS, ONE_BUCKET, APART, STAGED, SIX, USUAL)


@dataclass(frozen=True)
class Trained:
    """What the ranks of a world came to.

    Attributes:
        outcomes: of each step, the same on all ranks.
        half, end: the slices of all ranks, joined, by "file/name".
        resumed: the end of a training that went on from the half of one process.
        exchange: how the ranks traded gradients.
    """

    outcomes: list[Outcome]
    half: dict[str, Tensor]
    end: dict[str, Tensor]
    resumed: dict[str, Tensor]
    exchange: str = ""


def open_engine(
    settings: ContractSettings, world: World = ALONE, *, loss: Loss = loss_of, spoiled: float = 0.0
) -> tuple[ContractEngine, nn.Module]:
    """An engine for a new model.

    Args:
        spoiled: added to every weight, which a restored engine must not keep.
    """
    model = build().train()
    for weight in model.parameters():
        weight.data += spoiled
    engine = ContractEngine(
        model,
        parameter_groups(model),
        settings,
        world=world,
        micro_batch=micro_batch,
        loss=loss,
        clock=PhaseClock(),
    )
    return engine, model


def train(directory: Path) -> dict[int, dict[str, Trained]]:
    """Have every case trained by every world that has a shard for each of its processes.

    Returns:
        By world size and name of the case. A case is resumed from the half of one process. `ddp`
        is the control, by one process and by two: it has no moments, half and resumed.
    """
    command = [sys.executable, "-m", "tests.processes.contract", str(directory)]
    subprocess.run(command, check=True)
    return {
        size: {
            name: _read(directory / str(size), name, size)
            for name in [case.name for case in CASES if case.shards >= size]
            + (["ddp"] if size in CONTROLS else [])
        }
        for size in WORLDS
    }


def _read(directory: Path, name: str, size: int) -> Trained:
    told = {(directory / f"{name}.{rank}.json").read_text() for rank in range(size)}
    assert len(told) == 1, "all ranks know the same of a step"
    outcomes = [Outcome(tuple(losses), norm) for losses, norm in json.loads(told.pop())]
    parts = ("end",) if name == "ddp" else ("half", "end", "resumed")
    states = {part: joined(directory, f"{name}.{part}", size) for part in parts}
    if name == "ddp":
        return Trained(outcomes, {}, states["end"], {})
    exchange = (directory / f"{name}.exchange").read_text()
    return Trained(outcomes, states["half"], states["end"], states["resumed"], exchange)


def joined(directory: Path, stem: str, size: int) -> dict[str, Tensor]:
    """The tensors that the ranks wrote slices of, flat, each element once."""
    slices: dict[str, dict[int, Tensor]] = {}
    for rank in range(size):
        for key, values in load_file(directory / f"{stem}.{rank}").items():
            name, _, offset = key.rpartition("@")
            assert int(offset) not in slices.setdefault(name, {})
            slices[name][int(offset)] = values
    found = {}
    for name, parts in slices.items():
        ordered = [parts[offset] for offset in sorted(parts)]
        ends = torch.tensor([len(part) for part in ordered]).cumsum(0).tolist()
        assert sorted(parts) == [0, *ends[:-1]], f"{name} has gaps or comes twice"
        found[name] = torch.cat(ordered)
    return found


def _work(world: World, directory: Path) -> None:
    for case in CASES:
        if case.shards >= world.size:
            _train(case, world, directory, directory.with_name("1"))
    if world.size in CONTROLS:
        _train_by_ddp(BFLOAT16, world, directory)


def _train(case: Case, world: World, directory: Path, halves: Path) -> None:
    with patch("os.getpid", lambda: _NOBODY) if case.apart else nullcontext():
        sharing = dataclasses.replace(world, shares_gpus=case.staged)
        engine, _ = open_engine(case.settings, sharing)
    (directory / f"{case.name}.exchange").write_text(type(engine._exchange).__name__)
    outcomes = [engine.step(step, RATES[step]) for step in range(HALF)]
    _write(engine, directory / f"{case.name}.half.{world.rank}")
    outcomes += [engine.step(step, RATES[step]) for step in range(HALF, STEPS)]
    _write(engine, directory / f"{case.name}.end.{world.rank}")
    _tell(directory / f"{case.name}.{world.rank}.json", outcomes)

    half = joined(halves, f"{case.name}.half", 1)
    resumed, model = open_engine(case.settings, world, spoiled=1.0)
    shapes = {name: each.shape for name, each in model.state_dict().items()}

    def read(file: str, name: str) -> Tensor:
        parameter = name.removeprefix("exp_avg.").removeprefix("exp_avg_sq.")
        return half[f"{file}/{name}"].view(shapes[parameter])

    resumed.restore(read, HALF)
    for step in range(HALF, STEPS):
        resumed.step(step, RATES[step])
    _write(resumed, directory / f"{case.name}.resumed.{world.rank}")


def _train_by_ddp(case: Case, world: World, directory: Path) -> None:
    """The control: the same shards, accumulated and averaged as PyTorch does it."""
    model = build().train()
    optimizer = open_optimizer(model)
    ddp = DistributedDataParallel(model)
    share, outcomes = share_of(world.rank, world.size, case.shards), []
    for step in range(STEPS):
        losses = torch.zeros(case.shards)
        for shard in share:
            torch.manual_seed(seed_from(SEED, "dropout", step, shard))
            last = shard == share[-1]
            quiet: AbstractContextManager[None] = nullcontext() if last else ddp.no_sync()
            with quiet:
                with torch.autocast("cpu", torch.bfloat16, enabled=case.autocast):
                    loss = loss_of(ddp, micro_batch(step, shard), step)
                (loss * world.size).backward()  # type: ignore[no-untyped-call]
            losses[shard] = loss.detach()
        distributed.all_reduce(losses)
        norm = nn.utils.clip_grad_norm_(model.parameters(), CLIP).item()
        update(optimizer, RATES[step])
        outcomes.append(Outcome(tuple(losses.tolist()), norm))
    _tell(directory / f"ddp.{world.rank}.json", outcomes)
    held = dict(model.named_parameters()) if world.is_main else {}
    flat = {f"model/{name}@0": each.detach().reshape(-1) for name, each in held.items()}
    save_file(flat, directory / f"ddp.end.{world.rank}")


def _write(engine: ContractEngine, file: Path) -> None:
    found = {}
    for part in engine.slices():
        assert part.values.ndim == 1
        found[f"{part.file}/{part.name}@{part.offset}"] = part.values.clone()
    save_file(found, file)


def _tell(file: Path, outcomes: list[Outcome]) -> None:
    file.write_text(json.dumps([[one.losses, one.gradient_norm] for one in outcomes]))


if __name__ == "__main__":
    run_worlds(Path(sys.argv[1]), WORLDS, _work)
