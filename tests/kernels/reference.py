"""What docs/arithmetic.md says, once more, in numpy: slow, and by other means than the kernels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_LEAST_NORMAL = np.float32(2.0**-126)


def fma(a: Floats, b: Floats, c: Floats) -> Floats:
    """`a * b + c`, rounded once, as IEEE 754-2019 section 5.4.1 has it.

    The product is exact in float64. The sum is rounded to odd there: a sum that is not exact becomes the neighbour
    whose last bit is set. With more than twice the bits and two, rounding that to float32 is rounding once
    (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008, theorem 3).
    """
    with np.errstate(all="ignore"):
        result: Floats = _rounded_to_odd(a, b, c).astype(np.float32)
    return result


def _rounded_to_odd(a: Floats, b: Floats, c: Floats) -> NDArray[np.float64]:
    with np.errstate(all="ignore"):
        product = a.astype(np.float64) * b.astype(np.float64)
        addend = c.astype(np.float64)
        total = product + addend
        # What rounding has left out, exactly (Knuth, "The Art of Computer Programming", volume 2, 4.2.2, theorem B).
        other = total - product
        error = (product - (total - other)) + (addend - other)
        bits = np.ascontiguousarray(total).view(np.int64)
        away = (error > 0) == (total > 0)
        even = np.isfinite(total) & (error != 0) & (bits & 1 == 0)
        odd = np.where(even, np.where(away, bits + 1, bits - 1), bits)
    return odd.view(np.float64)


def product(left: Floats, right: Floats, bias: Floats | None = None) -> Floats:
    """[m, k] by [k, n]: a chain from zero on, in the order of k; then the bias."""
    result = np.zeros((left.shape[0], right.shape[1]), np.float32)
    for k in range(left.shape[1]):
        result = fma(*np.broadcast_arrays(left[:, k : k + 1], right[k : k + 1], result))
    if bias is not None:
        with np.errstate(all="ignore"):
            result = result + bias
    return result


def bfloat16(x: Floats) -> Floats:
    """The nearest one, ties to even; zero where that is below the least normal number."""
    bits = x.view(np.uint32).astype(np.uint64)
    near = (bits + 0x7FFF + (bits >> np.uint64(16) & np.uint64(1))) & np.uint64(0xFFFF0000)
    result = near.astype(np.uint32).view(np.float32)
    result = np.where(np.abs(result) < _LEAST_NORMAL, np.copysign(np.float32(0), result), result)
    return np.where(np.isnan(x), x, result)


def _flushed(exact: NDArray[np.float64]) -> Floats:
    """Rounded once to 24 bits; what is then below the least normal number is zero."""
    with np.errstate(all="ignore"):
        result: Floats = exact.astype(np.float32)
        tiny = np.abs(exact) < float(_LEAST_NORMAL) * (1 - 2.0**-25)
        return np.where(tiny, np.copysign(np.float32(0), result), result)


def product_of_rounded(left: Floats, right: Floats) -> Floats:
    """Of numbers rounded to bfloat16: two k at a time, the second first; an odd k has zeros beside it."""
    odd = left.shape[1] % 2
    left, right = (
        bfloat16(np.pad(one, edges).astype(np.float32))
        for one, edges in ((left, ((0, 0), (0, odd))), (right, ((0, odd), (0, 0))))
    )
    result = np.zeros((left.shape[0], right.shape[1]), np.float32)
    for first in range(0, left.shape[1], 2):
        for k in (first + 1, first):
            parts = np.broadcast_arrays(left[:, k : k + 1], right[k : k + 1], result)
            result = _flushed(_rounded_to_odd(*parts))
    return result


def quantized(x: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The levels of each row, and its scale."""
    if x.shape[1] == 0:
        return np.zeros(x.shape, np.int64), np.zeros(len(x), np.float32)
    highest = np.abs(x).max(axis=1)
    highest = np.where(np.isfinite(highest), highest, np.float32(np.nan))
    highest = np.where(highest < 2.0**-100, np.float32(0), highest)
    some = highest > 0
    by = np.divide(np.float32(127), highest, out=np.zeros_like(highest), where=some)
    levels = np.rint(np.where(some[:, None], x, 0) * by[:, None])
    scales: Floats = (highest / np.float32(127)).astype(np.float32)
    return levels.astype(np.int64), scales


def product_of_quantized(left: Floats, right: Floats, bias: Floats | None = None) -> Floats:
    """`left @ right.T + bias` of levels: sums are of whole numbers, and exact."""
    (one, scales), (other, by) = quantized(left), quantized(right)
    sums = (one @ other.T).astype(np.float32)
    found: Floats = sums * scales[:, None] * by
    return found if bias is None else found + bias


def row_sum(rows: Floats, other: Floats | None = None) -> Floats:
    """[m] of [m, n]: of the numbers, or of their products with others by fma; 16 partial sums, and a tree."""
    m, n = rows.shape
    partial = np.zeros((m, 16), np.float32)
    with np.errstate(all="ignore"):
        for first in range(0, n, 16):
            some = rows[:, first : first + 16]
            lanes = partial[:, : some.shape[1]]
            if other is None:
                lanes += some
            else:
                lanes[:] = fma(some, other[:, first : first + 16], lanes)
        for half in (8, 4, 2, 1):
            partial = partial[:, :half] + partial[:, half : 2 * half]
    return partial[:, 0]


def norm(
    x: Floats, weight: Floats, bias: Floats | None, epsilon: float, *, centred: bool
) -> tuple[Floats, Floats, Floats]:
    """y [m, n], and mean and scale of each row, [m]."""
    n = np.float32(x.shape[1])
    with np.errstate(all="ignore"):
        mean = row_sum(x) / n if centred else np.zeros(len(x), np.float32)
        d = x - mean[:, None]
        scale = np.float32(1) / np.sqrt(row_sum(d, d) / n + np.float32(epsilon))
        t = d * scale[:, None]
        weights = np.broadcast_to(weight, x.shape)
        y = t * weights if bias is None else fma(t, weights, np.broadcast_to(bias, x.shape))
    return y, mean, scale


def norm_gradients(
    above: Floats, x: Floats, weight: Floats, mean: Floats, scale: Floats, *, centred: bool
) -> tuple[Floats, Floats, Floats]:
    """By x [m, n], by weight and by bias, [n]."""
    n = np.float32(x.shape[1])
    with np.errstate(all="ignore"):
        t = (x - mean[:, None]) * scale[:, None]
        h = above * weight
        first = row_sum(h) / n if centred else np.zeros(len(x), np.float32)
        second = row_sum(h, t) / n
        less = np.broadcast_to(-second[:, None], x.shape)
        by_x = fma(t, less, h - first[:, None]) * scale[:, None]
        by_weight, by_bias = np.zeros_like(weight), np.zeros_like(weight)
        for row in range(len(x)):
            by_weight = fma(above[row], t[row], by_weight)
            by_bias = by_bias + above[row]
    return by_x, by_weight, by_bias


def same(one: Any, other: Any) -> bool:
    """Equal bits; of what is no number only that it is none, as IEEE 754 leaves its bits open."""
    one, other = np.asarray(one, np.float32), np.asarray(other, np.float32)
    none = np.isnan(one)
    return (
        one.shape == other.shape
        and bool((none == np.isnan(other)).all())
        and one[~none].tobytes() == other[~none].tobytes()
    )
