"""The most floating-point operations a second that a device can do: by data sheet, or measured."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from retort.kernels.products import pack, product
from retort.kernels.tensors import count_of_threads

Precision = Literal["float32", "bfloat16"]

# Dense, in 10**12 a second: bfloat16 with float32 accumulation, then float32 outside tensor cores.
# Data sheets that quote sparsity are halved. The first name that a device's name contains counts.
_DATA_SHEETS: Final[tuple[tuple[str, float | None, float], ...]] = (
    ("B200", 2250.0, 75.0),  # HGX B200, a GPU of eight
    ("GH200", 990.0, 67.0),  # GH200 Grace Hopper Superchip
    ("H200 NVL", 835.5, 60.0),  # H200 Tensor Core GPU
    ("H200", 989.5, 67.0),
    ("H100 NVL", 835.5, 60.0),  # H100 Tensor Core GPU
    ("H100 PCIe", 756.5, 51.0),
    ("H100", 989.5, 67.0),
    ("A100", 312.0, 19.5),  # A100 Tensor Core GPU
    ("RTX A6000", 154.8, 38.7),  # Ampere GA102 white paper
    ("A40", 149.7, 37.4),  # A40
    ("A30", 165.0, 10.3),  # A30 Tensor Core GPU
    ("A10G", 70.0, 35.0),  # A10G, as cloud instances carry it
    ("A10", 125.0, 31.2),  # A10 Tensor Core GPU
    ("L40S", 362.05, 91.6),  # L40S
    ("L40", 181.05, 90.5),  # L40
    ("L4", 121.0, 30.3),  # L4 Tensor Core GPU
    ("RTX 4090", 165.2, 82.6),  # Ada GPU architecture white paper
    ("RTX 3090", 71.0, 35.6),  # Ampere GA102 white paper
    ("T4", None, 8.1),  # T4: its tensor cores know no bfloat16
    ("V100", None, 15.7),  # V100, SXM2: likewise
)
_MEASURING_SECONDS = 0.3
# What other threads have spent is known from their last tick of the scheduler's, of up to 10 ms: a shorter try would
# seem to have taken less than it did.
_TRY_SECONDS = 0.03
# So many tries within two percent: nothing has disturbed them, and more would say the same.
_AGREEING, _AGREEMENT = 3, 1.02


@dataclass(frozen=True)
class PeakFlops:
    """What one device can do at most.

    Attributes:
        flops: floating-point operations a second; a multiplication and an addition are two.
        source: where the number is from, as it stands in the log behind "MFU against".
    """

    flops: float
    source: str


def peak_of(device: torch.device, precision: Precision, *, portable: bool = False) -> PeakFlops:
    """The peak of a GPU by its data sheet; of a CPU, or a GPU that we know none of, as measured.

    On a CPU it is that of this process with its number of threads, on cores of their own: other
    work on the machine hardly lowers it. Takes 0.1 s to 0.4 s where it measures, and draws no
    random numbers.

    Args:
        portable: what is measured are the products of `retort.kernels`, not PyTorch's.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        known = data_sheet_flops(name, precision)
        if known is not None:
            return PeakFlops(known, f"the {precision} peak in the data sheet of {name}")
    flops = _measured(device, precision, portable)
    threads = count_of_threads() if portable else torch.get_num_threads()
    where = f"{threads} threads" if device.type == "cpu" else "this GPU"
    source = f"a measured matmul peak: {flops / 1e9:,.0f} GFLOP/s in {precision} on {where}"
    return PeakFlops(flops, source)


def data_sheet_flops(name: str, precision: Precision) -> float | None:
    """FLOP/s of a GPU by its name in CUDA; None if we do not know it in this precision."""
    for part, bfloat16, float32 in _DATA_SHEETS:
        if part in name:
            tera = bfloat16 if precision == "bfloat16" else float32
            return None if tera is None else tera * 1e12
    return None


def _measured(device: torch.device, precision: Precision, portable: bool) -> float:
    """The fastest of as many products of square matrices as fit into the time."""
    # The kernels are at their fastest on small matrices, and an emulated processor takes a minute for larger ones.
    size = 256 if portable else 1024 if device.type == "cpu" else 8192
    matrix = torch.linspace(-1.0, 1.0, size * size, device=device).view(size, size)
    multiply = _portable(matrix, precision) if portable else _native(matrix, precision)
    multiply()
    started = time.perf_counter()
    multiply()
    repeats = max(1, round(_TRY_SECONDS / (time.perf_counter() - started)))

    def work() -> None:
        for _ in range(repeats):
            multiply()

    threads = count_of_threads() if portable else torch.get_num_threads()
    cores = min(threads, len(os.sched_getaffinity(0)))
    seconds = least_seconds(work, cores if device.type == "cpu" else None)
    return 2 * size**3 * repeats / seconds


def _portable(matrix: Tensor, precision: Precision) -> Callable[[], None]:
    right = pack(matrix.T, rounded=precision == "bfloat16")

    def multiply() -> None:
        product(matrix, right)

    return multiply


def _native(matrix: Tensor, precision: Precision) -> Callable[[], None]:
    left = matrix.to(torch.bfloat16 if precision == "bfloat16" else torch.float32)
    right = left.T.contiguous()
    result = left @ right  # the first one also loads the kernel

    def multiply() -> None:
        torch.matmul(left, right, out=result)
        if matrix.device.type == "cuda":
            torch.cuda.synchronize(matrix.device)

    return multiply


def least_seconds(work: Callable[[], None], cores: int | None) -> float:
    """The third least time that some work takes, of as many tries as fit into 0.3 s, or until three agree.

    A clock that was read at the wrong moment makes one try too fast, not three.

    On a busy machine every try may have had to wait for a core. What the cores spent on it is the
    same there, and shared out among them it is the time of a machine that does nothing else.

    Args:
        cores: that do the work, all of it in this process; None where it is not done by cores.
    """
    fastest: list[float] = []
    end = time.perf_counter() + _MEASURING_SECONDS
    while len(fastest) < _AGREEING or time.perf_counter() < end:
        wall, spent = time.perf_counter(), time.process_time()
        work()
        spent, wall = time.process_time() - spent, time.perf_counter() - wall
        fastest.append(wall if cores is None or spent <= 0 else min(wall, spent / cores))
        fastest = sorted(fastest)[:_AGREEING]
        if len(fastest) == _AGREEING and fastest[-1] <= _AGREEMENT * fastest[0]:
            break
    return fastest[-1]
