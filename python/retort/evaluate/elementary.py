"""Exponential and logarithm in float64, of the operations that IEEE 754 rounds, and of no others.

What is measured while a model trains is part of what a run keeps, and so of its seal. NumPy, PyTorch
and the C library have these functions by the width of the processor's vectors and by their version.
Here each step is one operation on whole arrays, which leaves a compiler nothing to fuse.
"""

import math

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

_PER_LOG_2 = float.fromhex("0x1.71547652b82fep+0")
# Log 2 in two parts; products of the first with a whole number below 2**20 are exact.
_LOG_2_HIGH = float.fromhex("0x1.62e42feep-1")
_LOG_2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
# Taylor's coefficients, the highest power first: (e**x - 1 - x) / x**2 in x, artanh's tail in s**2.
_OF_EXP = tuple(1.0 / math.factorial(power) for power in range(13, 1, -1))
_OF_LOG = tuple(2.0 / odd for odd in range(21, 1, -2))
_ROOT_HALF = float.fromhex("0x1.6a09e667f3bcdp-1")


def exp(values: Numbers) -> Numbers:
    """e to the power of each number, at most 1 ulp beside it; of infinities 0 and infinity.

    The power of 2 next to it times a Taylor polynomial of degree 13.
    """
    inside = np.clip(values, -800.0, 800.0)
    twos = np.rint(inside * _PER_LOG_2)
    rest = (inside - twos * _LOG_2_HIGH) - twos * _LOG_2_LOW
    series = _polynomial(_OF_EXP, rest)
    near_one = 1.0 + (rest + rest * rest * series)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        result: Numbers = np.ldexp(near_one, np.nan_to_num(twos).astype(np.int64))
    return result


def log(values: Numbers) -> Numbers:
    """Natural logarithm of each number, at most 1 ulp beside it; of 0 minus infinity, below it NaN.

    With m in [sqrt(1/2), sqrt(2)), f = m - 1 and s = f / (2 + f): log(m) = 2 artanh(s), as in
    Sun's fdlibm, whose splitting of what is rounded is used.
    """
    fractions, twos = np.frexp(values)
    small = fractions < _ROOT_HALF
    fraction = np.where(small, fractions * 2.0, fractions) - 1.0
    exponent = np.where(small, twos - 1, twos).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = fraction / (2.0 + fraction)
        square = ratio * ratio
        half = 0.5 * fraction * fraction
        tail = ratio * (half + square * _polynomial(_OF_LOG, square)) + exponent * _LOG_2_LOW
        finite = exponent * _LOG_2_HIGH - ((half - tail) - fraction)
    result: Numbers = np.select(
        (values > 0.0, values == 0.0),
        (np.where(np.isposinf(values), np.inf, finite), -np.inf),
        np.nan,
    )
    return result


def log_softmax(rows: Numbers) -> Numbers:
    """The logarithm of the softmax of each row, [rows, numbers]; sums go from left to right."""
    shifted = rows - rows.max(axis=1, keepdims=True)
    result: Numbers = shifted - log(np.cumsum(exp(shifted), axis=1)[:, -1:])
    return result


def _polynomial(coefficients: tuple[float, ...], at: Numbers) -> Numbers:
    """By Horner's rule, the highest power first."""
    value = np.full_like(at, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * at + coefficient
    return value
