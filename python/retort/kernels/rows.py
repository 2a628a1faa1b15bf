"""Softmax and cross-entropy with the same bits on every processor, for any number of threads.

Sums over a row are 16 strided partial sums and a fixed tree (docs/arithmetic.md, "Cross-entropy"). Smoothing of labels:
Szegedy and others, "Rethinking the Inception Architecture", 2016.
"""

import torch
from torch import Tensor

from retort.kernels.library import Kernels, kernels
from retort.kernels.operators import operator
from retort.kernels.tensors import address, check, check_integers, count_of_threads, rows


def softmax(x: Tensor, threads: int | None = None, by: Kernels | None = None) -> Tensor:
    """Of each row.

    Args:
        x: [m, n], float32 on the CPU; n is at least 1.
        threads: as many as PyTorch's by default; not in the result.
        by: the fastest kernels by default.
    Returns:
        [m, n].
    Raises:
        ValueError: x is of another kind, or its rows are empty.
    """
    check(x, "x", 2)
    _refuse_empty(x)
    x, result = rows(x), torch.empty(x.shape)
    (by or kernels()).softmax(
        *x.shape, x.data_ptr(), x.stride(0), result.data_ptr(), count_of_threads(threads)
    )
    return result


def softmax_gradient(
    above: Tensor, p: Tensor, threads: int | None = None, by: Kernels | None = None
) -> Tensor:
    """The gradient by x of `softmax`, [m, n].

    Args:
        above: the gradient by the result, [m, n].
        p: the result.
    Raises:
        ValueError: as of `softmax`, or the shapes differ.
    """
    check(p, "p", 2)
    check(above, "above", 2, p.shape[1])
    if len(above) != len(p):
        raise ValueError(f"above has {len(above)} rows, and p {len(p)}")
    above, p, result = above.contiguous(), p.contiguous(), torch.empty(p.shape)
    (by or kernels()).softmax_gradient(
        *(*p.shape, above.data_ptr(), p.data_ptr(), result.data_ptr()), count_of_threads(threads)
    )
    return result


def losses(
    x: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    smoothing: float = 0.0,
    *,
    threads: int | None = None,
    by: Kernels | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Cross-entropy of each row of logits, as `torch.nn.functional.cross_entropy` with `reduction="none"` has it.

    Args:
        x: [m, n], float32 on the CPU; n is at least 1.
        targets: [m], int64. A negative one leaves its row out, with a loss of zero.
        weights: of the classes, [n].
        smoothing: from 0 to 1.
        threads: as many as PyTorch's by default; not in the result.
        by: the fastest kernels by default.
    Returns:
        Of each row the loss, its highest number, and the sum of the exponentials beside that, [m].
    Raises:
        ValueError: the shapes do not fit, a tensor is of another kind, or a target is not below n.
    """
    m, n = _check(x, targets, weights)
    if not 0 <= smoothing <= 1:
        raise ValueError(f"smoothing is from 0 to 1, and not {smoothing}")
    x, targets = rows(x), targets.contiguous()
    weights = None if weights is None else weights.contiguous()
    result, highest, totals = (torch.empty(m) for _ in range(3))
    (by or kernels()).cross_entropy(
        *(m, n, x.data_ptr(), x.stride(0), targets.data_ptr(), address(weights), smoothing),
        *(result.data_ptr(), highest.data_ptr(), totals.data_ptr(), count_of_threads(threads)),
    )
    return result, highest, totals


def losses_gradient(
    above: Tensor,
    x: Tensor,
    targets: Tensor,
    weights: Tensor | None,
    found: tuple[Tensor, Tensor],
    *,
    smoothing: float,
    threads: int | None = None,
    by: Kernels | None = None,
) -> Tensor:
    """The gradient by x of `losses`, [m, n].

    Args:
        above: the gradient by each loss, [m].
        found: `highest` and `totals`, as `losses` has returned them.
    Raises:
        ValueError: as of `losses`.
    """
    m, n = _check(x, targets, weights)
    check(above, "above", 1, m)
    x, targets, above = rows(x), targets.contiguous(), above.contiguous()
    weights = None if weights is None else weights.contiguous()
    result = torch.empty(m, n)
    (by or kernels()).cross_entropy_gradient(
        *(m, n, above.data_ptr(), x.data_ptr(), x.stride(0), targets.data_ptr(), address(weights)),
        *(smoothing, found[0].data_ptr(), found[1].data_ptr(), result.data_ptr()),
        count_of_threads(threads),
    )
    return result


def _refuse_empty(x: Tensor) -> None:
    if x.shape[1] == 0:
        raise ValueError("x has rows without a number, of which there is no softmax")


def _check(x: Tensor, targets: Tensor, weights: Tensor | None) -> tuple[int, int]:
    check(x, "x", 2)
    _refuse_empty(x)
    check_integers(targets, "targets")
    m, n = x.shape
    if len(targets) != m:
        raise ValueError(f"there are {len(targets)} targets, and {m} rows of x")
    if m and int(targets.max()) >= n:
        raise ValueError(f"a target is {int(targets.max())}, and a row has {n} numbers")
    if weights is not None:
        check(weights, "weights", 1, n)
    return m, n


@operator("softmax")
def softmaxed(x: Tensor) -> Tensor:
    """`softmax`, with its gradient."""
    return softmax(x)


@operator("softmax_gradient")
def _softmax_gradient(above: Tensor, p: Tensor) -> Tensor:
    return softmax_gradient(above, p)


@softmaxed.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


@_softmax_gradient.register_fake
def _(above: Tensor, p: Tensor) -> Tensor:
    return p.new_empty(p.shape)


def _save_softmax(
    ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor], output: Tensor
) -> None:
    ctx.save_for_backward(output)


def _by_softmax(ctx: torch.autograd.function.FunctionCtx, above: Tensor) -> Tensor:
    by_x: Tensor = _softmax_gradient(above, *ctx.saved_tensors)  # type: ignore[attr-defined]
    return by_x


softmaxed.register_autograd(_by_softmax, setup_context=_save_softmax)


@operator("cross_entropy")
def _losses(
    x: Tensor, targets: Tensor, weights: Tensor | None, smoothing: float
) -> tuple[Tensor, Tensor, Tensor]:
    return losses(x, targets, weights, smoothing)


@operator("cross_entropy_gradient")
def _gradient(
    above: Tensor,
    x: Tensor,
    targets: Tensor,
    weights: Tensor | None,
    found: list[Tensor],
    *,
    smoothing: float,
) -> Tensor:
    return losses_gradient(above, x, targets, weights, (found[0], found[1]), smoothing=smoothing)


@_losses.register_fake
def _(
    x: Tensor, targets: Tensor, weights: Tensor | None, smoothing: float
) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(len(x)), x.new_empty(len(x)), x.new_empty(len(x))


@_gradient.register_fake
def _(
    above: Tensor,
    x: Tensor,
    targets: Tensor,
    weights: Tensor | None,
    found: list[Tensor],
    *,
    smoothing: float,
) -> Tensor:
    return x.new_empty(x.shape)


_Context = torch.autograd.function.FunctionCtx


def _saved(
    ctx: _Context,
    inputs: tuple[Tensor, Tensor, Tensor, float],
    output: tuple[Tensor, Tensor, Tensor],
) -> None:
    x, targets, weights, smoothing = inputs
    _, highest, totals = output
    ctx.mark_non_differentiable(highest, totals)
    ctx.save_for_backward(x, targets, weights, highest, totals)
    ctx.smoothing = smoothing  # type: ignore[attr-defined]


def _by_x(ctx: _Context, above: Tensor, *_: Tensor) -> tuple[Tensor, None, None, None]:
    x, targets, weights, *found = ctx.saved_tensors  # type: ignore[attr-defined]
    by_x = _gradient(above, x, targets, weights, found, smoothing=ctx.smoothing)  # type: ignore[attr-defined]
    return by_x, None, None, None


_losses.register_autograd(_by_x, setup_context=_saved)


def cross_entropy(
    x: Tensor, targets: Tensor, weights: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """The loss of each row, [m], with its gradient by x. Arguments and errors as of `losses`."""
    result: Tensor = _losses(x, targets, weights, smoothing)[0]
    return result
