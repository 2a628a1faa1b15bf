"""The compiled kernels, and which of them this processor can run."""

import ctypes
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from retort.core.errors import RetortError, UserError

_SETS: Mapping[str, tuple[str, ...]] = {"x86_64": ("avx2", "avx512"), "aarch64": ("neon",)}
"""Of an architecture the instruction sets, from the oldest on."""
_SIZE, _POINTER, _FLAG = ctypes.c_int64, ctypes.c_void_p, ctypes.c_int
_SIGNATURES: Mapping[str, tuple[Any, list[Any]]] = {
    "packed_floats": (_SIZE, [_SIZE, _SIZE]),
    "pack": (None, [_SIZE, _SIZE, _POINTER, _SIZE, _SIZE, _POINTER]),
    "product": (
        None,
        [
            *(_SIZE, _SIZE, _SIZE, _POINTER, _SIZE, _SIZE),
            *(_POINTER, _POINTER, _POINTER, _SIZE, _FLAG, _FLAG),
        ],
    ),
    "norm": (
        None,
        [
            *(_SIZE, _SIZE, _POINTER, _SIZE, _POINTER, _POINTER),
            *(ctypes.c_float, _FLAG, _POINTER, _POINTER, _POINTER, _FLAG),
        ],
    ),
    "norm_by_x": (
        None,
        [
            *(_SIZE, _SIZE, _POINTER, _SIZE, _POINTER, _SIZE),
            *(_POINTER, _POINTER, _POINTER, _FLAG, _POINTER, _FLAG),
        ],
    ),
    "norm_by_weight": (
        None,
        [
            *(_SIZE, _SIZE, _POINTER, _SIZE, _POINTER, _SIZE),
            *(_POINTER, _POINTER, _POINTER, _POINTER, _FLAG),
        ],
    ),
}


@dataclass(frozen=True)
class Kernels:
    """The kernels as compiled for one instruction set. All sets give the same bits.

    Attributes:
        instructions: its name: avx2, avx512 or neon.
        packed_floats, pack, product: as in products.c.
        norm, norm_by_x, norm_by_weight: as in norms.c.
    """

    instructions: str
    packed_floats: Any
    pack: Any
    product: Any
    norm: Any
    norm_by_x: Any
    norm_by_weight: Any


@cache
def usable() -> tuple[Kernels, ...]:
    """The kernels that this processor can run, the fastest last.

    Raises:
        UserError: it can run none of them.
        RetortError: they have not been compiled.
    """
    machine = platform.machine()
    if machine not in _SETS:
        raise UserError(
            f"there are kernels for {' and '.join(_SETS)}, and this processor is {machine}"
        )
    file = Path(__file__).with_name(f"kernels_{machine}.so")
    try:
        library = ctypes.CDLL(str(file))
    except OSError as error:
        raise RetortError(
            f"{file}: cannot be loaded ({error}); Bazel compiles it: //python/retort/kernels"
        ) from error
    best: int = library.retort_processor()
    if best == 0:
        raise UserError(
            "this processor lacks AVX2 or FMA, without which the kernels would be another arithmetic; "
            "they need x86-64-v3: Intel since Haswell (2013), AMD since Excavator (2015)"
        )
    return tuple(_functions(library, one) for one in _SETS[machine][:best])


def kernels() -> Kernels:
    """The fastest that this processor can run. Raises as `usable`."""
    return usable()[-1]


def _functions(library: ctypes.CDLL, instructions: str) -> Kernels:
    found = {}
    for name, (result, arguments) in _SIGNATURES.items():
        function = library[f"retort_{name}_{instructions}"]
        function.restype, function.argtypes = result, arguments
        found[name] = function
    return Kernels(instructions, **found)
