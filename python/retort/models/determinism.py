"""Fixing what changes the last bits of a result: threads, kernels and random numbers."""

import os

import torch

from retort.core.digest import canonical_json, sha256_bytes
from retort.kernels.tensors import use_threads


def fix_arithmetic(threads: int, *, portable: bool = False) -> None:
    """Have this process compute the same bits as any other with as many threads.

    Sums are split among threads, so their number belongs to the recipe, not to the machine.

    Args:
        portable: the kernels compute, and have the threads. PyTorch, which only copies and adds then, has one: its
            others would look for work on the cores on which theirs do it.
    """
    use_threads(threads if portable else None)
    torch.set_num_threads(1 if portable else threads)
    # As `use_deterministic_algorithms`, which also imports a compiler for seconds that is not used here.
    torch.set_deterministic_debug_mode("error")
    # Nothing here reads memory that it has not written, and to fill it first costs a pass.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.benchmark = False
    # Read by cuBLAS when its first handle is made; without it, its sums come in any order.
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"


def spread_over(threads: int) -> None:
    """Have the kernels use so many threads from now on, which is in no result of theirs."""
    use_threads(threads)


def seed_from(*parts: int | str) -> int:
    """A seed for PyTorch (below 2**63) that depends on every part and on their order."""
    return int(sha256_bytes(canonical_json(list(parts)))[:16], 16) >> 1
