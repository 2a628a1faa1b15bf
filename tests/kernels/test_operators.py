"""The way past PyTorch's dispatcher, which gives what the way through it does."""

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from retort.kernels.operators import operator


@operator("of_a_test")
def scaled(x: Tensor, by: float = 2.0, *, more: int) -> tuple[Tensor, Tensor]:
    """`x * by + more`, and it squared."""
    result = x * by + more
    return result, result * result


@scaled.register_fake
def _(x: Tensor, by: float = 2.0, *, more: int) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape)


def _kept(
    ctx: torch.autograd.function.FunctionCtx,
    inputs: tuple[Tensor, float],
    keyword_only_inputs: dict[str, int],
    output: tuple[Tensor, Tensor],
) -> None:
    ctx.save_for_backward(output[0])
    ctx.by, ctx.more = inputs[1], keyword_only_inputs["more"]  # type: ignore[attr-defined]


def _by_x(
    ctx: torch.autograd.function.FunctionCtx, one: Tensor, two: Tensor
) -> tuple[Tensor, None]:
    (result,) = ctx.saved_tensors  # type: ignore[attr-defined]
    return (one + 2 * result * two) * ctx.by, None  # type: ignore[attr-defined]


scaled.register_autograd(_by_x, setup_context=_kept)


@operator("of_a_test_without_gradients")
def doubled(x: Tensor) -> Tensor:
    """Twice `x`."""
    return x * 2


def test_results_and_gradients_are_those_of_the_dispatcher() -> None:
    found = []
    for call in (scaled, torch.ops.retort.of_a_test.default):
        x = torch.tensor([1.0, -2.0], requires_grad=True)
        one, two = call(x, 3.0, more=1)
        torch.autograd.backward(one.sum() + two.sum())
        assert x.grad is not None
        found.append((one, two, x.grad))
    assert all(map(torch.equal, *found))
    assert found[0][2].tolist() == [27.0, -27.0]


def test_arguments_have_their_defaults() -> None:
    x = torch.ones(1, requires_grad=True)
    torch.autograd.backward(scaled(x, more=0)[0].sum())
    assert x.grad is not None
    assert x.grad.item() == 2.0
    with torch.no_grad():
        assert not scaled(x, more=0)[0].requires_grad


def test_tensors_without_numbers_go_through_the_dispatcher() -> None:
    with FakeTensorMode():
        assert scaled(torch.empty(3, 2), more=1)[1].shape == (3, 2)


def test_a_gradient_that_nobody_told_is_refused() -> None:
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"no autograd formula|does not require grad"):
        torch.autograd.backward(doubled(x).sum())
    assert doubled(x.detach()).tolist() == [2.0, 2.0]
