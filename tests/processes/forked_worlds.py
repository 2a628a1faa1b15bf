"""Worlds of real processes, forked from one that has imported what takes long."""

import sys
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import distributed

from retort.models.determinism import fix_arithmetic
from retort.train.processes.world import World


def run_worlds(root: Path, sizes: Sequence[int], work: Callable[[World, Path], None]) -> None:
    """Have one world after the other do `work`, each in a new directory `<root>/<size>`.

    Call it in a process of its own, which must not have computed gradients.

    Raises:
        SystemExit: a process failed; its traceback is on standard error.
    """
    for size in sizes:
        (root / str(size)).mkdir()
        ranks = [
            get_context("fork").Process(target=_be, args=(rank, size, root / str(size), work))
            for rank in range(size)
        ]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join()
        if any(process.exitcode for process in ranks):
            sys.exit(f"world of {size}: a process failed")


def _be(rank: int, size: int, directory: Path, work: Callable[[World, Path], None]) -> None:
    fix_arithmetic(1)
    meeting = f"file://{directory}/meeting"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
    work(World(rank, size, rank, torch.device("cpu")), directory)
    distributed.destroy_process_group()
