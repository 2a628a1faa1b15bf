"""Functions of each number by itself, dropout and normal numbers, with the same bits on every processor.

Each function is one order of operations (docs/arithmetic.md, "Functions"). GELU: Hendrycks and Gimpel, "Gaussian Error
Linear Units", 2016. SiLU: Elfwing, Uchibe and Doya, 2018. Dropout: Srivastava and others, 2014, by the random bits of
Philox4x32-10 (Salmon and others, 2011). Normal numbers: Marsaglia and Bray, "A Convenient Method for Generating Normal
Variables", 1964.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from retort.kernels.library import Kernels, kernels
from retort.kernels.operators import operator
from retort.kernels.tensors import check, count_of_threads

FUNCTIONS = ("exp", "log", "erf", "tanh", "gelu", "gelu_tanh", "silu")
_WITH_GRADIENT = ("gelu", "gelu_tanh", "silu")


def apply(
    function: str, x: Tensor, threads: int | None = None, by: Kernels | None = None
) -> Tensor:
    """One of `FUNCTIONS` of each number.

    Args:
        x: float32 on the CPU, of any shape.
        threads: as many as PyTorch's by default; not in the result.
        by: the fastest kernels by default.
    Returns:
        As x, contiguous.
    Raises:
        ValueError: there is no such function, or x is of another kind.
    """
    check(x, "x", x.dim())
    x, result = x.contiguous(), torch.empty(x.shape)
    (by or kernels()).apply(
        *(FUNCTIONS.index(function), x.numel(), x.data_ptr(), result.data_ptr()),
        count_of_threads(threads),
    )
    return result


def apply_gradient(
    function: str,
    above: Tensor,
    x: Tensor,
    threads: int | None = None,
    by: Kernels | None = None,
) -> Tensor:
    """The gradient by x of `apply`, for GELU and SiLU.

    Args:
        above: the gradient by the result, of x's shape.
    Raises:
        ValueError: as of `apply`, or the function has none here.
    """
    check(x, "x", x.dim())
    check(above, "above", x.dim())
    if function not in _WITH_GRADIENT:
        raise ValueError(f"{function} has no gradient here; {', '.join(_WITH_GRADIENT)} have")
    if above.shape != x.shape:
        raise ValueError(f"above has the shape {list(above.shape)}, and x {list(x.shape)}")
    above, x, result = above.contiguous(), x.contiguous(), torch.empty(x.shape)
    (by or kernels()).apply_gradient(
        *(FUNCTIONS.index(function), x.numel(), above.data_ptr(), x.data_ptr()),
        *(result.data_ptr(), count_of_threads(threads)),
    )
    return result


@dataclass(frozen=True)
class Dropout:
    """Which numbers are dropped: a function of the key and of each element's number alone.

    Attributes:
        below: of 65,536 as many are dropped.
        key: of Philox, 64 bits, signed.
    """

    below: int
    key: int

    @property
    def scale(self) -> float:
        """By which those are multiplied that are kept; float32 where it is used."""
        return 65_536 / (65_536 - self.below)


def dropout_at(probability: float, *place: int | str) -> Dropout:
    """The dropout of one place of the computation.

    Args:
        probability: from 0 to below 1, taken to the nearest of 65,536 parts, and below 1.
        place: what tells it from all others: seed, step, shard, layer and a name there; see `key_of`.
    Raises:
        ValueError: there is no such probability.
    """
    if not 0 <= probability < 1:
        raise ValueError(f"a probability of dropout is from 0 to below 1, and not {probability}")
    return Dropout(min(round(probability * 65_536), 65_535), key_of(*place))


def key_of(*place: int | str) -> int:
    """Philox's key of a place: the first eight bytes, little-endian, of the SHA-256 of its parts, joined by slashes."""
    digest = hashlib.sha256("/".join(map(str, place)).encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


def normal(
    shape: Sequence[int], key: int, threads: int | None = None, by: Kernels | None = None
) -> Tensor:
    """Numbers drawn from the normal distribution of mean 0 and deviation 1, each a function of the key and its number.

    Args:
        threads: as many as PyTorch's by default; not in the result.
        by: the fastest kernels by default.
    """
    result = torch.empty(tuple(shape))
    (by or kernels()).normal(result.numel(), key, result.data_ptr(), count_of_threads(threads))
    return result


def drop(
    x: Tensor,
    dropout: Dropout,
    first: int = 0,
    threads: int | None = None,
    by: Kernels | None = None,
) -> Tensor:
    """Drop some of the numbers, and scale the others. It is its own gradient.

    Args:
        x: float32 on the CPU, of any shape.
        first: the number of its first element, where x is a part of something larger.
        threads: as many as PyTorch's by default; not in the result.
        by: the fastest kernels by default.
    Returns:
        As x, contiguous.
    Raises:
        ValueError: x is of another kind, or `first` is negative.
    """
    check(x, "x", x.dim())
    if first < 0:
        raise ValueError(f"an element's number is not {first}")
    x, result = x.contiguous(), torch.empty(x.shape)
    (by or kernels()).dropout(
        *(x.numel(), first, x.data_ptr(), dropout.key, dropout.below, dropout.scale),
        *(result.data_ptr(), count_of_threads(threads)),
    )
    return result


@operator("apply")
def _apply(function: str, x: Tensor) -> Tensor:
    return apply(function, x)


@operator("apply_gradient")
def _apply_gradient(function: str, above: Tensor, x: Tensor) -> Tensor:
    return apply_gradient(function, above, x)


@operator("dropout")
def _drop(x: Tensor, below: int, keys: list[int], shards: Tensor | None) -> Tensor:
    if shards is None:
        return drop(x, Dropout(below, keys[0]))
    parts = zip(keys, pairwise(shards.tolist()), strict=True)
    return torch.cat([drop(x[begin:end], Dropout(below, key)) for key, (begin, end) in parts])


@_apply.register_fake
def _(function: str, x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


@_apply_gradient.register_fake
def _(function: str, above: Tensor, x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


@_drop.register_fake
def _(x: Tensor, below: int, keys: list[int], shards: Tensor | None) -> Tensor:
    return x.new_empty(x.shape)


_Context = torch.autograd.function.FunctionCtx


def _save_function(ctx: _Context, inputs: tuple[str, Tensor], output: Tensor) -> None:
    ctx.function = inputs[0]  # type: ignore[attr-defined]
    ctx.save_for_backward(inputs[1])


def _by_function(ctx: _Context, above: Tensor) -> tuple[None, Tensor]:
    (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
    if ctx.function == "tanh":  # type: ignore[attr-defined]
        value = _apply("tanh", x)
        return None, above * (1 - value * value)
    return None, _apply_gradient(ctx.function, above, x)  # type: ignore[attr-defined]


def _save_place(
    ctx: _Context, inputs: tuple[Tensor, int, list[int], Tensor | None], output: Tensor
) -> None:
    ctx.place = inputs[1:]  # type: ignore[attr-defined]


def _by_place(ctx: _Context, above: Tensor) -> tuple[Tensor, None, None, None]:
    return _drop(above, *ctx.place), None, None, None  # type: ignore[attr-defined]


_apply.register_autograd(_by_function, setup_context=_save_function)
_drop.register_autograd(_by_place, setup_context=_save_place)


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """As `torch.nn.functional.gelu`: exactly by erf, or by tanh with `approximate="tanh"`. Raises as `apply`."""
    result: Tensor = _apply("gelu_tanh" if approximate == "tanh" else "gelu", x)
    return result


def silu(x: Tensor) -> Tensor:
    """As `torch.nn.functional.silu`. Raises as `apply`."""
    result: Tensor = _apply("silu", x)
    return result


def tanh(x: Tensor) -> Tensor:
    """As `torch.tanh`. Raises as `apply`."""
    result: Tensor = _apply("tanh", x)
    return result


def dropped(x: Tensor, dropouts: Sequence[Dropout], shards: Tensor | None = None) -> Tensor:
    """`drop` of the rows of each logical shard, with its gradient.

    Args:
        x: [rows, ...].
        dropouts: of each shard, of one probability.
        shards: where the rows of each begin and the last end, int64 [shards + 1]; all are of one by default.
    """
    keys = [one.key for one in dropouts]
    result: Tensor = _drop(x, dropouts[0].below, keys, shards)
    return result
