"""What each part of a step in portable arithmetic gains: the step with all of them, and with one taken back.

Every way has an engine of its own in the same processes, and they take turns step by step, so that what the machine
does hits all.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import distributed
from torch.multiprocessing.spawn import start_processes

from benchmarks.process import python, run_measured
from benchmarks.train.comparison import Comparison
from benchmarks.train.ours import recipe
from benchmarks.train.workload import Measured, Workload
from retort.core.config import load_recipe
from retort.core.machine import keep_freed_memory, look_past_what_is_there
from retort.models.determinism import fix_arithmetic
from retort.train.engines.contract import engine as contract
from retort.train.engines.contract.tree import cut
from retort.train.engines.engine import Engine
from retort.train.engines.open import open_engine
from retort.train.processes.world import World
from retort.train.recipe import TrainingRecipe, with_arithmetic
from retort.train.tasks.open import open_task
from retort.train.timing.phases import PhaseClock

ALL = "all of it"


@dataclass(frozen=True)
class Way:
    """A way to compute a step.

    Attributes:
        settings: of the recipe, by dotted keys.
        instead: what names of the engine's module stand for.
    """

    settings: tuple[str, ...] = ()
    instead: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """While this is open, engines are made and step so."""
        with ExitStack() as stack:
            for name, other in self.instead.items():
                stack.enter_context(mock.patch.object(contract, name, other))
            yield


WAYS: Mapping[str, Way] = {
    ALL: Way(),
    "shards one after the other": Way(
        instead={"cut": lambda roots, sizes, _, shards: cut(roots, sizes, -1, shards)}
    ),
    "gradients copied to where they are added": Way(instead={"made_in": lambda _: nullcontext()}),
    "exchange by collectives": Way(instead={"shared_vectors": lambda *_: None}),
    "shards in the order of the epoch": Way(("data.grouping=1",)),
    "padded, by PyTorch's kernels": Way(("train.arithmetic=native", "data.grouping=16")),
}


def compare_ways(workload: Workload, world_size: int) -> Comparison:
    """Every way, each step of `workload.steps` a run of it."""
    command = python(__name__, "--world-size", world_size, workload.model_dump_json())
    _, said = run_measured(command, watch=False)
    taken: dict[str, list[float]] = json.loads(said.splitlines()[-1])
    runs = {
        name: [Measured([one], workload.batch) for one in seconds]
        for name, seconds in taken.items()
    }
    return Comparison(runs, warm_up=0)


def main(typed: Sequence[str]) -> None:
    """All ways, in one group of processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world-size", type=int, required=True)
    parser.add_argument("workload", help="as JSON")
    options = parser.parse_args(typed)
    workload = Workload.model_validate_json(options.workload)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = (options.world_size, workload, Path(scratch))
        start_processes(  # type: ignore[no-untyped-call]
            _rank, arguments, nprocs=options.world_size, start_method="fork"
        )
        print((Path(scratch) / "result.json").read_text(encoding="utf-8"))


def _rank(rank: int, size: int, workload: Workload, scratch: Path) -> None:
    keep_freed_memory()
    distributed.init_process_group(
        "gloo", init_method=f"file://{scratch}/meeting", rank=rank, world_size=size
    )
    world = World(rank, size, rank, torch.device("cpu"))
    engines = {name: open_way(way, workload, world, scratch) for name, way in WAYS.items()}
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    for step in range(1 + workload.steps):
        for name, (engine, portable) in engines.items():
            fix_arithmetic(workload.threads, portable=portable)
            distributed.barrier()
            begun = time.perf_counter()
            with WAYS[name].taken():
                engine.step(step, workload.lr)
            distributed.barrier()
            taken[name].append(time.perf_counter() - begun)
        if step == 0:
            look_past_what_is_there()
    if rank == 0:
        counted = {name: seconds[1:] for name, seconds in taken.items()}
        (scratch / "result.json").write_text(json.dumps(counted), encoding="utf-8")
    distributed.destroy_process_group()


def open_way(way: Way, workload: Workload, world: World, scratch: Path) -> tuple[Engine, bool]:
    """An engine that steps so, and whether its arithmetic is portable."""
    file = scratch / f"benchmark-{world.rank}.yaml"
    file.write_text(json.dumps(recipe(workload)), encoding="utf-8")  # which is YAML too
    given = load_recipe(TrainingRecipe, file, way.settings, scratch).config
    one = with_arithmetic(given, given.train.arithmetic or "portable")
    fix_arithmetic(workload.threads, portable=one.train.arithmetic == "portable")
    with way.taken():
        task = open_task(one, scratch / "run", world.device, world.alone)
        engine, _ = open_engine(one, task, world, PhaseClock())
    engine.model.train()
    return engine, one.train.arithmetic == "portable"


if __name__ == "__main__":
    main(sys.argv[1:])
