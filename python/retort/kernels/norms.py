"""LayerNorm and RMSNorm with the same bits on every processor, for any number of threads.

Sums over a row are 16 strided partial sums and a fixed tree (docs/arithmetic.md, "Norms"). LayerNorm: Ba, Kiros and
Hinton, "Layer Normalization", 2016. RMSNorm: Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.
"""

import torch
from torch import Tensor

from retort.kernels.library import Kernels, kernels
from retort.kernels.operators import operator
from retort.kernels.tensors import address, check, count_of_threads, rows, shards_or_one


def norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    epsilon: float,
    *,
    centred: bool,
    threads: int | None = None,
    by: Kernels | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Each row by its mean, if `centred`, and its deviation.

    Args:
        x: [m, n], float32 on the CPU, whose rows are contiguous; n is at least 1.
        weight, bias: [n].
        threads: as many as PyTorch's by default; not in the result.
        by: the fastest kernels by default.
    Returns:
        y [m, n], and of each row the mean (zero where it is not taken off) and the reciprocal of the deviation, [m].
    Raises:
        ValueError: the shapes do not fit, or a tensor is of another kind.
    """
    m, n = _sizes(x, weight, bias)
    x, (weight, bias) = rows(x), (weight.contiguous(), None if bias is None else bias.contiguous())
    y, means, scales = torch.empty(m, n), torch.empty(m), torch.empty(m)
    (by or kernels()).norm(
        *(m, n, x.data_ptr(), x.stride(0), weight.data_ptr(), address(bias)),
        *(epsilon, centred, y.data_ptr(), means.data_ptr(), scales.data_ptr()),
        count_of_threads(threads),
    )
    return y, means, scales


def norm_gradients(
    above: Tensor,
    x: Tensor,
    weight: Tensor,
    means: Tensor,
    scales: Tensor,
    *,
    centred: bool,
    shards: Tensor | None = None,
    threads: int | None = None,
    by: Kernels | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients by x [m, n], weight [n] and bias [n] of `norm`.

    Args:
        above: the gradient by y, [m, n].
        means, scales: as `norm` has returned them.
        shards: where the rows of each logical shard begin and the last end, int64 [shards + 1], by which the gradients
            by weight and bias are added along the canonical tree; all rows are of one by default.
    Raises:
        ValueError: as of `norm`, or the shards do not cover the rows.
    """
    m, n = _sizes(x, weight, None)
    check(above, "above", 2, n)
    if len(above) != m:
        raise ValueError(f"above has {len(above)} rows, and x {m}")
    above, x, weight = rows(above), rows(x), weight.contiguous()
    by_x, by_weight, by_bias = torch.empty(m, n), torch.empty(n), torch.empty(n)
    both = (n, above.data_ptr(), above.stride(0), x.data_ptr(), x.stride(0))
    of_rows = (means.data_ptr(), scales.data_ptr())
    shards, count, by = shards_or_one(shards, m), count_of_threads(threads), by or kernels()
    by.norm_by_x(m, *both, weight.data_ptr(), *of_rows, centred, by_x.data_ptr(), count)
    by.norm_by_weight(
        *(len(shards) - 1, shards.data_ptr(), *both, *of_rows),
        *(by_weight.data_ptr(), by_bias.data_ptr(), count),
    )
    return by_x, by_weight, by_bias


def _sizes(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[int, int]:
    check(x, "x", 2)
    check(weight, "weight", 1, x.shape[1])
    if bias is not None:
        check(bias, "bias", 1, x.shape[1])
    if x.shape[1] == 0:
        raise ValueError("x has rows without a number, which have no mean")
    return x.shape[0], x.shape[1]


@operator("norm")
def _norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    epsilon: float,
    shards: Tensor | None,
    *,
    centred: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return norm(x, weight, bias, epsilon, centred=centred)


@_norm.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    epsilon: float,
    shards: Tensor | None,
    *,
    centred: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape[0]), x.new_empty(x.shape[0])


@operator("norm_gradients")
def _norm_gradients(
    above: Tensor,
    x: Tensor,
    weight: Tensor,
    found: list[Tensor],
    shards: Tensor | None,
    *,
    centred: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return norm_gradients(above, x, weight, *found, centred=centred, shards=shards)


@_norm_gradients.register_fake
def _(
    above: Tensor,
    x: Tensor,
    weight: Tensor,
    found: list[Tensor],
    shards: Tensor | None,
    *,
    centred: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), weight.new_empty(weight.shape), weight.new_empty(weight.shape)


def _saved(
    ctx: torch.autograd.function.FunctionCtx,
    inputs: tuple[Tensor, Tensor, Tensor | None, float, Tensor | None],
    keyword_only_inputs: dict[str, bool],
    output: tuple[Tensor, Tensor, Tensor],
) -> None:
    x, weight, bias, _, shards = inputs
    _, means, scales = output
    ctx.mark_non_differentiable(means, scales)
    ctx.save_for_backward(x, weight, means, scales)
    ctx.has_bias, ctx.shards = bias is not None, shards  # type: ignore[attr-defined]
    ctx.centred = keyword_only_inputs["centred"]  # type: ignore[attr-defined]


def _gradients(
    ctx: torch.autograd.function.FunctionCtx, above: Tensor, *_: Tensor
) -> tuple[Tensor | None, ...]:
    x, weight, *found = ctx.saved_tensors  # type: ignore[attr-defined]
    shards, centred = ctx.shards, ctx.centred  # type: ignore[attr-defined]
    by_x, by_weight, by_bias = _norm_gradients(above, x, weight, found, shards, centred=centred)
    return by_x, by_weight, by_bias if ctx.has_bias else None, None, None  # type: ignore[attr-defined]


_norm.register_autograd(_gradients, setup_context=_saved)


def layer_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    epsilon: float,
    shards: Tensor | None = None,
) -> Tensor:
    """As `torch.nn.functional.layer_norm` over the last dimension of x, [..., n]. Raises as `norm`.

    Args:
        shards: as of `norm_gradients`.
    """
    y: Tensor = _norm(x.reshape(-1, x.shape[-1]), weight, bias, epsilon, shards, centred=True)[0]
    return y.reshape(x.shape)


def rms_norm(x: Tensor, weight: Tensor, epsilon: float, shards: Tensor | None = None) -> Tensor:
    """As `torch.nn.functional.rms_norm` over the last dimension of x, [..., n]. Raises as `norm`.

    Args:
        shards: as of `norm_gradients`.
    """
    y: Tensor = _norm(x.reshape(-1, x.shape[-1]), weight, None, epsilon, shards, centred=False)[0]
    return y.reshape(x.shape)
