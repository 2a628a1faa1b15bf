"""Attention within packed sequences, with the same bits on every processor, for any layout and number of threads.

Vaswani and others, "Attention Is All You Need", 2017; heads of keys and values that several of queries share: Ainslie
and others, "GQA", 2023; without the matrix of scores in memory: Dao and others, "FlashAttention", 2022. The order of
operations: docs/arithmetic.md, "Attention".
"""

import ctypes
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from retort.kernels.elementwise import Dropout
from retort.kernels.library import Kernels, kernels
from retort.kernels.operators import operator
from retort.kernels.tensors import check, check_offsets, count_of_threads

_NOTHING = Dropout(0, 0)


@dataclass(frozen=True)
class Setting:
    """How attention is computed.

    Attributes:
        scale: by which scores are multiplied; often 1 / sqrt(width).
        causal: each token sees itself and those before it; otherwise all of its sequence.
        dropouts: of the weights, of each logical shard, of one probability; none without dropout.
        shards: where the sequences of each begin and the last end, int64 [shards + 1], if there are several.
        threads: as many as PyTorch's by default; not in the result.
        by: the fastest kernels by default.
    """

    scale: float
    causal: bool = False
    dropouts: tuple[Dropout, ...] = ()
    shards: Tensor | None = None
    threads: int | None = None
    by: Kernels | None = None

    def cut(self, offsets: Tensor) -> "list[tuple[slice, Tensor, Setting]]":
        """Of each shard, if they differ, its tokens, the offsets of its sequences, and how attention is computed."""
        if len(self.dropouts) < 2 or self.shards is None:
            return []
        found = []
        for dropout, (first, last) in zip(
            self.dropouts, pairwise(self.shards.tolist()), strict=True
        ):
            here = offsets[first : last + 1]
            begin, end = int(here[0]), int(here[-1])
            alone = replace(self, dropouts=(dropout,), shards=None)
            found.append((slice(begin, end), here - begin, alone))
        return found


def attention(
    q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, setting: Setting
) -> tuple[Tensor, Tensor, Tensor]:
    """Of each token, from the tokens of its own sequence.

    Args:
        q: [tokens, heads, width], float32 on the CPU.
        k, v: [tokens, heads of these, width]; heads is a multiple of theirs.
        offsets: where each sequence begins and the last ends, [sequences + 1], int64, from 0 to tokens, ascending.
            Sequences may be empty.
    Returns:
        [tokens, heads, width], and of each token and head the highest score and the reciprocal of the sum of
        exponentials, [tokens, heads].
    Raises:
        ValueError: the shapes do not fit, or a tensor is of another kind.
        MemoryError: there is not enough.
    """
    if parts := setting.cut(offsets):
        found = [attention(q[at], k[at], v[at], here, how) for at, here, how in parts]
        return _joined(found)
    sizes = _sizes(q, k, v, offsets)
    tokens, heads, width = q.shape
    q, k, v, offsets = *(_beside(one) for one in (q, k, v)), offsets.contiguous()
    result, highest, shares = (
        torch.empty(tokens, heads, width),
        *(torch.empty(tokens, heads) for _ in range(2)),
    )
    failed = (setting.by or kernels()).attention(
        *(*sizes, offsets.data_ptr()),
        *(q.data_ptr(), k.data_ptr(), v.data_ptr(), _strides(q, k, v, result)),
        *_numbers(setting),
        *(result.data_ptr(), highest.data_ptr(), shares.data_ptr()),
        count_of_threads(setting.threads),
    )
    _refuse_failure(failed)
    return result, highest, shares


def attention_gradients(
    above: Tensor,
    given: tuple[Tensor, Tensor, Tensor, Tensor],
    found: tuple[Tensor, Tensor],
    setting: Setting,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients by q, k and v of `attention`.

    Args:
        above: the gradient by the result, [tokens, heads, width].
        given: q, k, v and offsets.
        found: the highest scores and the reciprocals, as `attention` has returned them.
    Raises:
        ValueError, MemoryError: as of `attention`.
    """
    q, k, v, offsets = given
    if parts := setting.cut(offsets):
        highest, shares = found
        return _joined(
            [
                attention_gradients(
                    above[at], (q[at], k[at], v[at], here), (highest[at], shares[at]), how
                )
                for at, here, how in parts
            ]
        )
    sizes = _sizes(q, k, v, offsets)
    check(above, "above", 3, q.shape[2])
    if above.shape != q.shape:
        raise ValueError(f"above has the shape {list(above.shape)}, and q {list(q.shape)}")
    above, q, k, v = (_beside(one) for one in (above, q, k, v))
    offsets = offsets.contiguous()
    by_q, by_k, by_v = (torch.empty(one.shape) for one in (q, k, v))
    failed = (setting.by or kernels()).attention_gradients(
        *(*sizes, offsets.data_ptr()),
        *(above.data_ptr(), q.data_ptr(), k.data_ptr(), v.data_ptr()),
        _strides(q, k, v, q, above, by_q, by_k, by_v),
        *_numbers(setting),
        *(found[0].data_ptr(), found[1].data_ptr()),
        *(by_q.data_ptr(), by_k.data_ptr(), by_v.data_ptr(), count_of_threads(setting.threads)),
    )
    _refuse_failure(failed)
    return by_q, by_k, by_v


def _sizes(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor) -> tuple[int, int, int, int]:
    for one, name in ((q, "q"), (k, "k"), (v, "v")):
        check(one, name, 3, q.shape[-1])
    tokens, heads, width = q.shape
    if k.shape != v.shape or k.shape[0] != tokens or k.shape[1] == 0 or heads % k.shape[1]:
        shapes = ", ".join(str(list(one.shape)) for one in (q, k, v))
        raise ValueError(
            f"q, k and v are {shapes}; give as many tokens, and heads of q that are a multiple of those of k and v"
        )
    check_offsets(offsets, tokens)
    return len(offsets) - 1, heads, heads // k.shape[1], width


def _joined(parts: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    one, two, three = (torch.cat(each) for each in zip(*parts, strict=True))
    return one, two, three


def _beside(one: Tensor) -> Tensor:
    return one if one.stride(2) == 1 else one.contiguous()


def _strides(*all_of: Tensor) -> object:
    strides = [stride for one in all_of for stride in one.stride()[:2]]
    return (ctypes.c_int64 * len(strides))(*strides)


def _numbers(setting: Setting) -> tuple[float, bool, int, int, float]:
    dropout = setting.dropouts[0] if setting.dropouts else _NOTHING
    return setting.scale, setting.causal, dropout.key, dropout.below, dropout.scale


def _refuse_failure(failed: int) -> None:
    if failed:
        raise MemoryError("there is not enough memory for the scores of 16 tokens")


@operator("attention")
def _attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    offsets: Tensor,
    shards: Tensor | None,
    *,
    scale: float,
    causal: bool,
    below: int,
    keys: list[int],
) -> tuple[Tensor, Tensor, Tensor]:
    return attention(q, k, v, offsets, _setting(shards, scale, causal, below, keys))


@operator("attention_gradients")
def _gradients(
    above: Tensor,
    given: list[Tensor],
    found: list[Tensor],
    shards: Tensor | None,
    *,
    scale: float,
    causal: bool,
    below: int,
    keys: list[int],
) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v, offsets = given
    return attention_gradients(
        above,
        (q, k, v, offsets),
        (found[0], found[1]),
        _setting(shards, scale, causal, below, keys),
    )


def _setting(
    shards: Tensor | None, scale: float, causal: bool, below: int, keys: list[int]
) -> Setting:
    return Setting(scale, causal, tuple(Dropout(below, key) for key in keys), shards)


@_attention.register_fake
def _(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    offsets: Tensor,
    shards: Tensor | None,
    *,
    scale: float,
    causal: bool,
    below: int,
    keys: list[int],
) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), q.new_empty(q.shape[:2]), q.new_empty(q.shape[:2])


@_gradients.register_fake
def _(
    above: Tensor,
    given: list[Tensor],
    found: list[Tensor],
    shards: Tensor | None,
    *,
    scale: float,
    causal: bool,
    below: int,
    keys: list[int],
) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v, _ = given
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


_Context = torch.autograd.function.FunctionCtx


def _saved(
    ctx: _Context,
    inputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None],
    keyword_only_inputs: dict[str, Any],
    output: tuple[Tensor, Tensor, Tensor],
) -> None:
    q, k, v, offsets, shards = inputs
    _, highest, shares = output
    ctx.mark_non_differentiable(highest, shares)
    ctx.save_for_backward(q, k, v, offsets, highest, shares)
    ctx.shards, ctx.others = shards, keyword_only_inputs  # type: ignore[attr-defined]


def _by_inputs(
    ctx: _Context, above: Tensor, *_: Tensor
) -> tuple[Tensor, Tensor, Tensor, None, None]:
    saved = list(ctx.saved_tensors)  # type: ignore[attr-defined]
    by = _gradients(above, saved[:4], saved[4:], ctx.shards, **ctx.others)  # type: ignore[attr-defined]
    return *by, None, None


_attention.register_autograd(_by_inputs, setup_context=_saved)


def attended(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, setting: Setting) -> Tensor:
    """`attention`'s result, with its gradients. `setting.threads` and `setting.by` are not heard here."""
    result: Tensor = _attention(
        *(q, k, v, offsets, setting.shards),
        scale=setting.scale,
        causal=setting.causal,
        below=setting.dropouts[0].below if setting.dropouts else 0,
        keys=[one.key for one in setting.dropouts],
    )[0]
    return result
