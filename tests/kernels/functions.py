"""What docs/arithmetic.md says of functions, attention, cross-entropy and dropout, once more, in numpy."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tests.kernels.reference import Floats, fma, product, row_sum

_LOG2_E, _LN2 = float.fromhex("0x1.715476p+0"), (
    float.fromhex("0x1.62e43p-1"),
    float.fromhex("-0x1.05c61p-29"),
)
_EXP = ("0x1.6a4f70p-10", "0x1.123980p-7", "0x1.5558aep-5", "0x1.555492p-3", "0x1.fffffcp-2")
_LOG = (
    *("-0x1.38ce9ap-4", "0x1.055fe0p-3", "-0x1.0d81e0p-3", "0x1.22d8fep-3"),
    *("-0x1.54728ep-3", "0x1.99a01ep-3", "-0x1.000226p-2", "0x1.555554p-2"),
)
_ERF = (
    *("0x1.4771fcp-14", "-0x1.a3515ep-11", "0x1.53f224p-8", "-0x1.b7f71ap-6"),
    *("0x1.ce2ce6p-4", "-0x1.81273ep-2", "0x1.06eba8p-3"),
)
_ERFC = (
    *("0x1.8970b6p-13", "-0x1.83fd4cp-9", "0x1.66a3eap-6", "-0x1.a6c830p-4"),
    *("-0x1.46a986p-1", "-0x1.208e54p+0", "-0x1.501b0ap-12"),
)
_TANH = (
    *("0x1.18b48cp-9", "-0x1.0c01dcp-7", "0x1.6394c2p-6", "-0x1.b9f04ep-5"),
    *("0x1.111076p-3", "-0x1.555554p-2"),
)
_ROOTS = {
    "half": float.fromhex("0x1.6a09e6p-1"),
    "normal": float.fromhex("0x1.988454p-2"),
    "pi": float.fromhex("0x1.988454p-1"),
    "cubic": float.fromhex("0x1.6e4e26p-5"),
}


def _f(number: float) -> np.float32:
    return np.float32(number)


def _fma(*parts: object) -> Floats:
    return fma(*np.broadcast_arrays(*(np.asarray(part, np.float32) for part in parts)))


def _polynomial(x: Floats, coefficients: Sequence[str]) -> Floats:
    result = np.full_like(x, _f(float.fromhex(coefficients[0])))
    for one in coefficients[1:]:
        result = _fma(result, x, _f(float.fromhex(one)))
    return result


def exp(x: Floats) -> Floats:
    with np.errstate(all="ignore"):
        near = np.where(x < -104, _f(-104), np.where(x > 89, _f(89), x))
        n = np.rint(near * _f(_LOG2_E))
        r = _fma(n, _f(-_LN2[1]), _fma(n, _f(-_LN2[0]), near))
        y = _f(1) + _fma(_polynomial(r, _EXP), r * r, r)
        whole = np.where(np.isnan(n), 0, n).astype(np.int32)
        half = whole >> 1
        result: Floats = np.ldexp(_f(1), half) * y
        return (np.ldexp(_f(1), whole - half) * result).astype(np.float32)


def log(x: Floats) -> Floats:
    with np.errstate(all="ignore"):
        tiny = x < _f(2.0**-126)
        bits = np.where(tiny, x * _f(2.0**23), x).astype(np.float32).view(np.int32) - 0x3F3504F3
        e = ((bits >> 23) - np.where(tiny, 23, 0)).astype(np.float32)
        f = ((bits & 0x7FFFFF) + 0x3F3504F3).astype(np.int32).view(np.float32) - _f(1)
        s = f * f
        t = _fma(e, _f(_LN2[1]), _fma(_f(-0.5), s, _polynomial(f, _LOG) * (s * f)))
        y = _fma(e, _f(_LN2[0]), f + t)
        below = np.where(x == 0, _f(-np.inf), _f(np.nan))
        return np.where(x > 0, np.where(np.isinf(x), x, y), below).astype(np.float32)


def erf(x: Floats) -> Floats:
    with np.errstate(all="ignore"):
        a = np.abs(x)
        far = _f(1) - exp(_polynomial(np.where(a > 4, _f(4), a), _ERFC))
        return np.where(a < 1, _fma(x, _polynomial(x * x, _ERF), x), np.copysign(far, x))


def tanh(x: Floats) -> Floats:
    with np.errstate(all="ignore"):
        a, s = np.abs(x), x * x
        far = _f(1) - _f(2) / (exp(a + a) + _f(1))
        near = _fma(x * s, _polynomial(s, _TANH), x)
        return np.where(a < _f(0.625), near, np.copysign(far, x)).astype(np.float32)


def _below(x: Floats) -> Floats:
    return _fma(erf(x * _f(_ROOTS["half"])), _f(0.5), _f(0.5))


def _inner(x: Floats) -> Floats:
    return _f(_ROOTS["pi"]) * _fma(_f(_ROOTS["cubic"]) * (x * x), x, x)


def _sigmoid(x: Floats) -> Floats:
    return _f(1) / (_f(1) + exp(-x))


def gelu(x: Floats) -> Floats:
    with np.errstate(all="ignore"):
        return x * _below(x)


def gelu_tanh(x: Floats) -> Floats:
    with np.errstate(all="ignore"):
        return x * _fma(tanh(_inner(x)), _f(0.5), _f(0.5))


def silu(x: Floats) -> Floats:
    with np.errstate(all="ignore"):
        return x * _sigmoid(x)


FUNCTIONS = {
    "exp": exp,
    "log": log,
    "erf": erf,
    "tanh": tanh,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": silu,
}


def gradient(function: str, above: Floats, x: Floats) -> Floats:
    """By x of GELU or SiLU."""
    with np.errstate(all="ignore"):
        if function == "gelu":
            slope = _fma(x, _f(_ROOTS["normal"]) * exp(_f(-0.5) * (x * x)), _below(x))
        elif function == "gelu_tanh":
            t = tanh(_inner(x))
            by_x = _f(_ROOTS["pi"]) * _fma(_f(3) * _f(_ROOTS["cubic"]) * x, x, _f(1))
            slope = _fma(_f(0.5) * x * _fma(-t, t, _f(1)), by_x, _fma(t, _f(0.5), _f(0.5)))
        else:
            s = _sigmoid(x)
            slope = _fma(x * s, _f(1) - s, s)
        return above * slope


def softmax(x: Floats) -> Floats:
    with np.errstate(all="ignore"):
        e = exp(x - _highest(x))
        return e * (_f(1) / row_sum(e))[:, None]


def softmax_gradient(above: Floats, p: Floats) -> Floats:
    """By x."""
    with np.errstate(all="ignore"):
        return p * (above - row_sum(p, above)[:, None])


def _highest(x: Floats) -> Floats:
    return np.fmax.reduce(x, axis=1, initial=_f(-np.inf), keepdims=True)


def cross_entropy(
    x: Floats, targets: NDArray[np.int64], weights: Floats | None, smoothing: float
) -> Floats:
    """[m]"""
    n, taken = x.shape[1], np.maximum(targets, 0)
    weights = np.ones(n, np.float32) if weights is None else weights
    with np.errstate(all="ignore"):
        beside = x - _highest(x)
        log_of_sum = log(row_sum(exp(beside)))[:, None]
        each = log_of_sum - beside
        of_target = weights[taken] * each[np.arange(len(x)), taken]
        result = of_target
        if smoothing > 0:
            share = _f(smoothing) / _f(n)
            result = _fma(
                _f(1) - _f(smoothing),
                of_target,
                share * row_sum(np.broadcast_to(weights, x.shape), each),
            )
        return np.where(targets < 0, _f(0), result)


def cross_entropy_gradient(
    above: Floats, x: Floats, targets: NDArray[np.int64], weights: Floats | None, smoothing: float
) -> Floats:
    """By x, [m, n]."""
    (m, n), taken = x.shape, np.maximum(targets, 0)
    weights = np.ones(n, np.float32) if weights is None else weights
    with np.errstate(all="ignore"):
        e = exp(x - _highest(x))
        p = e * (_f(1) / row_sum(e))[:, None]
        share = _f(smoothing) / _f(n)
        of_target = (_f(1) - _f(smoothing)) * weights[taken]
        of_all = _fma(share, row_sum(weights[None])[0], of_target)
        result = _fma(-share, weights[None], p * of_all[:, None])
        result[np.arange(m), taken] -= of_target
        result = result * above[:, None]
        return np.where(targets[:, None] < 0, _f(0), result)


def random_words(key: int, counters: NDArray[np.uint32]) -> list[NDArray[np.uint64]]:
    """Philox4x32-10 of each counter, [..., 4]: four words, [...]."""
    words = [counters[..., i].astype(np.uint64) for i in range(4)]
    key &= 2**64 - 1
    keys = [key & 0xFFFFFFFF, key >> 32]
    for _ in range(10):
        first, third = words[0] * np.uint64(0xD2511F53), words[2] * np.uint64(0xCD9E8D57)
        low = np.uint64(0xFFFFFFFF)
        words = [
            (third >> np.uint64(32)) ^ words[1] ^ np.uint64(keys[0]),
            third & low,
            (first >> np.uint64(32)) ^ words[3] ^ np.uint64(keys[1]),
            first & low,
        ]
        keys = [(keys[0] + 0x9E3779B9) & 0xFFFFFFFF, (keys[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return words


def normal(count: int, key: int) -> Floats:
    """Each by the first point of its own that is in the circle."""
    element, made = np.arange(count, dtype=np.uint64), np.zeros(count, np.float32)
    waiting = np.ones(count, bool)
    attempt = 0
    while waiting.any():
        low, high = element & np.uint64(0xFFFFFFFF), element >> np.uint64(32)
        counters = np.stack([low, high, low * 0 + attempt, low * 0], axis=-1).astype(np.uint32)
        u, v = (
            one.astype(np.uint32).view(np.int32).astype(np.float32) * _f(2.0**-31)
            for one in random_words(key, counters)[:2]
        )
        s = _fma(u, u, v * v)
        inside = (s > 0) & (s < 1) & waiting
        with np.errstate(all="ignore"):
            made = np.where(inside, u * np.sqrt(_f(-2) * log(s) / s), made)
        waiting &= ~inside
        attempt += 1
    return made


def decisions(key: int, counters: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Of each counter, [..., 4], its eight decisions of 16 bits, [..., 8]."""
    words = random_words(key, counters)
    halves = [one >> np.uint64(shift) & np.uint64(0xFFFF) for one in words for shift in (0, 16)]
    return np.stack(halves, axis=-1).astype(np.uint32)


def dropout(x: Floats, key: int, below: int, first: int) -> Floats:
    """Of numbers that lie one after another, the first of which is element `first`."""
    element = first + np.arange(x.size, dtype=np.uint64)
    counter = element // 128 * 16 + element % 16
    words = np.stack(
        [counter & np.uint64(0xFFFFFFFF), counter >> np.uint64(32), counter * 0, counter * 0],
        axis=-1,
    )
    decided = decisions(key, words.astype(np.uint32))
    of_element = np.take_along_axis(decided, (element % 128 // 16)[:, None].astype(np.int64), -1)
    scale = _f(65536 / (65536 - below))
    with np.errstate(all="ignore"):
        kept: Floats = np.where(of_element[:, 0] >= below, x.reshape(-1) * scale, _f(0))
    return kept.reshape(x.shape)


def _kept(length: int, head: int, sequence: int, key: int) -> NDArray[np.uint32]:
    """[queries, keys]: the decision of each weight."""
    i, j = np.meshgrid(np.arange(length), np.arange(length), indexing="ij")
    place = np.stack(
        [j // 8 * 16 + i % 16, i // 16, np.full_like(i, head), np.full_like(i, sequence)], axis=-1
    )
    decided = decisions(key, place.astype(np.uint32))
    return np.take_along_axis(decided, (j % 8)[..., None], -1)[..., 0]


def _chains(weights: Floats, v: Floats, *, causal: bool) -> Floats:
    """`weights @ v`; of a causal one the keys up to the end of the query's group of sixteen."""
    if not causal:
        return product(weights, v)
    groups = [
        product(weights[first : first + 16, : first + 16], v[: first + 16])
        for first in range(0, len(v), 16)
    ]
    return np.concatenate(groups)


def attention(
    q: Floats,
    k: Floats,
    v: Floats,
    offsets: Sequence[int],
    above: Floats,
    *,
    scale: float,
    causal: bool,
    below: int,
    key: int,
) -> tuple[Floats, Floats, Floats, Floats]:
    """The result [tokens, heads, width], and the gradients by q, k and v."""
    sharing = q.shape[1] // k.shape[1]
    result, by_q = np.zeros_like(q), np.zeros_like(q)
    by_k, by_v = np.zeros_like(k), np.zeros_like(v)
    larger = _f(65536 / (65536 - below))
    with np.errstate(all="ignore"):
        for sequence, (begin, end) in enumerate(pairwise(offsets)):
            where, length = slice(begin, end), end - begin
            if not length:
                continue
            i, j = np.meshgrid(np.arange(length), np.arange(length), indexing="ij")
            seen = (j <= i) if causal else np.full_like(i, True, bool)
            for shared in range(k.shape[1]):
                keys, values = k[where, shared], v[where, shared]
                for head in range(shared * sharing, (shared + 1) * sharing):
                    scores = product(q[where, head], keys.T) * _f(scale)
                    highest = _highest(np.where(seen, scores, _f(-np.inf)))
                    e = np.where(seen, exp(scores - highest), _f(0))
                    p = e * (_f(1) / row_sum(e))[:, None]
                    kept = _kept(length, head, sequence, key) >= below
                    dropped = np.where(kept, p * larger, _f(0)) if below else p
                    result[where, head] = _chains(dropped, values, causal=causal)
                    slopes = product(above[where, head], values.T)
                    slopes = np.where(kept, slopes * larger, _f(0)) if below else slopes
                    group = j < (i // 16 + 1) * 16
                    in_group = np.where(group, slopes, _f(0)) if causal else slopes
                    inner = row_sum(p, in_group)[:, None]
                    by_scores = np.where(seen, p * (slopes - inner) * _f(scale), _f(0))
                    by_q[where, head] = _chains(by_scores, keys, causal=causal)
                    for row in range(length):
                        rows = slice(
                            begin, begin + (min(length, (row // 16 + 1) * 16) if causal else length)
                        )
                        of = slice(0, rows.stop - begin)
                        by_v[rows, shared] = _fma(
                            dropped[row, of, None],
                            above[begin + row, head][None],
                            by_v[rows, shared],
                        )
                        by_k[rows, shared] = _fma(
                            by_scores[row, of, None], q[begin + row, head][None], by_k[rows, shared]
                        )
    return result, by_q, by_k, by_v


def rotary(x: Floats, cosines: Floats, sines: Floats) -> Floats:
    """[tokens, heads, width], by tables of its tokens, [tokens, width / 2]."""
    half = x.shape[2] // 2
    one, other = x[..., :half], x[..., half:]
    c, s = (np.broadcast_to(table[:, None], one.shape) for table in (cosines, sines))
    return np.concatenate([_fma(one, c, -(other * s)), _fma(other, c, one * s)], axis=2)


def squares(x: Floats) -> np.float64:
    """The sum of the squares of all, in float64."""
    partial = np.zeros(16)
    for first in range(0, len(x), 16):
        some = x[first : first + 16].astype(np.float64)
        partial[: len(some)] += some * some
    for half in (8, 4, 2, 1):
        partial = partial[:half] + partial[half : 2 * half]
    return np.float64(partial[0])
