"""The compiled kernels, and which of them this processor can run."""

import ctypes
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from retort.core.errors import RetortError, UserError, shown

INSTRUCTIONS = "RETORT_INSTRUCTIONS"
"""Chooses a set of instructions, to see that another gives the same bits."""
_SETS: Mapping[str, tuple[str, ...]] = {
    "x86_64": ("avx2", "avx512", "avx512_vnni", "avx512_bf16"),
    "aarch64": ("neon",),
}
"""Of an architecture the instruction sets, from the oldest on."""
_TYPES: Mapping[str, Any] = {
    "n": ctypes.c_int64,
    "p": ctypes.c_void_p,
    "f": ctypes.c_float,
    "i": ctypes.c_int,
}
_SIGNATURES: Mapping[str, tuple[str, str]] = {
    "packed_floats": ("nni", "n"),
    "pack": ("nnpnn i p i", ""),
    "product": ("nnn pnn ppp n iii", ""),
    "sum_of_products": ("nnn p pnn pp n ii", ""),
    "quantize": ("nn pn pn p i", ""),
    "packed_bytes": ("nn", "n"),
    "pack_quantized": ("nn pn p i", ""),
    "quantized_product": ("nnn pn ppp p p i", ""),
    "norm": ("nn pnpp fi ppp i", ""),
    "norm_by_x": ("nn pnpn ppp i p i", ""),
    "norm_by_weight": ("npn pnpn pp pp i", ""),
    "apply": ("i n pp i", ""),
    "apply_gradient": ("i n ppp i", ""),
    "dropout": ("nnp nif p i", ""),
    "normal": ("nnp i", ""),
    "adamw": ("n pppp ffffffff i", ""),
    "rotate": ("nnn pnn ppp f p i", ""),
    "softmax": ("nn pn p i", ""),
    "softmax_gradient": ("nn ppp i", ""),
    "cross_entropy": ("nn pn pp f ppp i", ""),
    "cross_entropy_gradient": ("nn ppn pp f ppp i", ""),
    "add_rows": ("nn ppp pn p i", ""),
    "sum_of_rows": ("npn pn p i", ""),
    "squares": ("n ppp i", ""),
    "attention": ("nnnn p ppp p fi nif ppp i", "i"),
    "attention_gradients": ("nnnn p pppp p fi nif pp ppp i", "i"),
}
"""Of each function its arguments and result: n is int64_t, p a pointer, f a float, i an int."""


@dataclass(frozen=True)
class Kernels:
    """The kernels as compiled for one instruction set: functions of the files in `c`. All sets give the same bits.

    Attributes:
        instructions: its name: avx2, avx512, avx512_vnni, avx512_bf16 or neon.
        functions: by their names there.
    """

    instructions: str
    functions: Mapping[str, Any] = field(repr=False)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.functions[name]
        except KeyError:
            raise AttributeError(name) from None


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
    file = Path(__file__).parent / "c" / f"kernels_{machine}.so"
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


@cache
def kernels() -> Kernels:
    """The fastest that this processor can run, or those of the environment variable `RETORT_INSTRUCTIONS`.

    Raises:
        UserError: as `usable`; or the variable names none of them.
        RetortError: as `usable`.
    """
    found = {one.instructions: one for one in usable()}
    wanted = os.environ.get(INSTRUCTIONS)
    if wanted is None:
        return usable()[-1]
    if wanted not in found:
        raise UserError(
            f"environment variable {INSTRUCTIONS}: {shown(wanted)} is not among what this processor can run: "
            f"{', '.join(found)}"
        )
    return found[wanted]


def _functions(library: ctypes.CDLL, instructions: str) -> Kernels:
    found = {}
    for name, (arguments, result) in _SIGNATURES.items():
        function = library[f"retort_{name}_{instructions}"]
        function.argtypes = [_TYPES[one] for one in arguments if one != " "]
        function.restype = _TYPES[result] if result else None
        found[name] = function
    return Kernels(instructions, found)
