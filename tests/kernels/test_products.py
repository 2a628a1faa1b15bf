"""Products have the bits of the reference: by each instruction set, for any strides, threads and parts."""

import os
import platform
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from retort.core.errors import RetortError, UserError
from retort.kernels import library
from retort.kernels.library import Kernels, kernels, usable
from retort.kernels.products import PackedWeights, linear, matmul, pack, product
from tests.kernels import reference
from tests.kernels.drawn import LAID, numbers

BY = pytest.mark.parametrize("by", usable(), ids=lambda one: one.instructions)
SIZES = st.one_of(st.integers(0, 70), st.sampled_from([168, 169, 255, 256, 257, 600]))


@BY
@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(SIZES, st.integers(0, 90), SIZES),
    drawn=st.tuples(st.integers(0, 2**31), st.sampled_from([0.0, 0.02])),
    laid=st.tuples(LAID, LAID),
    has_bias=st.booleans(),
    threads=st.integers(1, 4),
)
def test_any_product_has_the_bits_of_the_reference(
    by: Kernels,
    *,
    shape: tuple[int, int, int],
    drawn: tuple[int, float],
    laid: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]],
    has_bias: bool,
    threads: int,
) -> None:
    m, n, k = shape
    seed, special = drawn
    left, right = (numbers(seed, *size, special=special) for size in ((m, k), (k, n)))
    bias = numbers(seed + 1, n) if has_bias else None
    expected = reference.product(
        left.numpy(), right.numpy(), None if bias is None else bias.numpy()
    )
    found = product(laid[0](left), pack(laid[1](right), by), bias, threads)
    assert found.shape == (m, n)
    assert reference.same(found, expected)


@BY
@settings(max_examples=40)
@given(
    shape=st.tuples(SIZES, st.integers(0, 90), SIZES),
    drawn=st.tuples(
        st.integers(0, 2**31), st.sampled_from([0.0, 0.02]), st.sampled_from([0, -60, -63])
    ),
    laid=st.tuples(LAID, LAID),
    threads=st.integers(1, 4),
)
def test_any_product_of_rounded_numbers_has_the_bits_of_the_reference(
    by: Kernels,
    *,
    shape: tuple[int, int, int],
    drawn: tuple[int, float, int],
    laid: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]],
    threads: int,
) -> None:
    """Some are so small that sums of products come to lie around the least normal number."""
    m, n, k = shape
    seed, special, exponent = drawn
    left, right = (
        numbers(seed, *size, special=special) * 2.0**exponent for size in ((m, k), (k, n))
    )
    found = product(laid[0](left), pack(laid[1](right), by, rounded=True), threads=threads)
    assert reference.same(found, reference.product_of_rounded(left.numpy(), right.numpy()))


@BY
def test_a_sum_that_rounds_up_to_the_least_normal_number_is_kept(by: Kernels) -> None:
    """And one that does not is zero: x86 looks for what is tiny after rounding, to 24 bits."""
    least = 2.0**-126
    for below, told in ((2.0**-26, least), (2.0**-25, least), (1.5 * 2.0**-25, 0.0)):
        # The second of a pair comes first: least, then what is taken off it.
        left = torch.tensor([[2.0**-100, 2.0**-63]])
        right = torch.tensor([[-below * 2.0**-26], [2.0**-63]])
        assert product(left, pack(right, by, rounded=True)).item() == told


@BY
def test_a_product_in_parts_has_the_bits_of_the_whole(by: Kernels) -> None:
    left, right = numbers(0, 333, 300), numbers(1, 300, 205)
    whole = product(left, pack(right, by), threads=2)
    for cut in (1, 13, 14, 168, 200, 332):
        rows = [product(part, pack(right, by)) for part in (left[:cut], left[cut:])]
        assert torch.equal(torch.cat(rows), whole)
    for cut in (1, 31, 32, 100, 204):
        columns = [product(left, pack(part, by)) for part in (right[:, :cut], right[:, cut:])]
        assert torch.equal(torch.cat(columns, dim=1), whole)


@BY
def test_the_control_another_order_has_other_bits(by: Kernels) -> None:
    left, right = numbers(0, 40, 300), numbers(1, 300, 50)
    order = torch.arange(299, -1, -1)
    forward = product(left, pack(right, by))
    backward = product(left[:, order], pack(right[order], by))
    assert torch.allclose(forward, backward, rtol=1e-3, atol=1e-1)
    assert not torch.equal(forward, backward)


@BY
def test_the_floating_point_state_of_the_thread_changes_nothing_and_is_left_alone(
    by: Kernels,
) -> None:
    left, right = torch.full((3, 1), 1e-30), torch.full((1, 40), 1e-12)
    expected = product(left, pack(right, by))
    assert 0 < expected.max() < 1.2e-38
    assert torch.set_flush_denormal(True)
    try:
        assert torch.equal(product(left, pack(right, by), threads=1), expected)
        assert (
            torch.tensor([1e-30]) * 1e-12
        ).item() == 0.0, "the control: it was set, and is still"
    finally:
        torch.set_flush_denormal(False)


@BY
def test_a_forked_process_has_threads_of_its_own(by: Kernels) -> None:
    left, right = numbers(0, 400, 256), pack(numbers(1, 256, 256), by)
    expected = product(left, right, threads=3).numpy().tobytes()
    child = os.fork()
    if child == 0:
        # PyTorch's own threads are lost to it: nothing that would use them.
        found = {product(left, right, threads=3).numpy().tobytes() for _ in range(20)}
        os._exit(0 if found == {expected} else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_several_callers_at_once_have_their_own_results() -> None:
    left, right = [numbers(one, 300, 200) for one in range(8)], pack(numbers(9, 200, 300))
    expected = [product(one, right, threads=1) for one in left]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            found = list(pool.map(lambda one: product(one, right, threads=2), left))
            assert all(map(torch.equal, found, expected))


def test_the_reference_rounds_once() -> None:
    drawn = np.random.default_rng(0)
    some = drawn.standard_normal((3, 4000)).astype(np.float32)
    some *= np.float32(2.0) ** drawn.integers(-60, 60, some.shape).astype(np.float32)
    # Near halves, where rounding twice goes wrong.
    some[2, :2000] = (-some[0] * some[1])[:2000] * np.float32(1 + 2**-20)
    found = reference.fma(*some)
    for a, b, c, told in zip(*some.tolist(), found.tolist(), strict=True):
        exact = Fraction(a) * Fraction(b) + Fraction(c)
        distance = abs(Fraction(told) - exact)
        for away in (-np.inf, np.inf):
            other = float(np.nextafter(np.float32(told), np.float32(away)))
            assert distance <= abs(Fraction(other) - exact)


def test_a_layer_is_that_of_pytorch_with_its_gradients() -> None:
    x, weight, bias = numbers(0, 2, 9, 33), numbers(1, 20, 33), numbers(2, 20)
    above = numbers(3, 2, 9, 20)
    ours, theirs = ([one.clone().requires_grad_() for one in (x, weight, bias)] for _ in range(2))
    torch.autograd.backward(linear(*ours), above)
    exact = torch.nn.functional.linear(*(one.double() for one in theirs))
    torch.autograd.backward(exact, above.double())
    for one, other in zip(ours, theirs, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        scale = other.grad.abs().max()
        assert torch.allclose(one.grad / scale, other.grad / scale, atol=1e-6)
    rows, gradient = x.reshape(-1, 33).numpy(), above.reshape(-1, 20).numpy()
    ones = np.ones((1, len(gradient)), np.float32)
    expected = (
        reference.product(gradient, weight.numpy()).reshape(x.shape),
        reference.product(gradient.T, rows),
        reference.product(ones, gradient)[0],
    )
    for one, wanted in zip(ours, expected, strict=True):
        assert reference.same(one.grad, wanted)


def test_a_layer_of_rounded_numbers_has_gradients_of_rounded_numbers() -> None:
    x, weight, bias = numbers(0, 9, 33), numbers(1, 20, 33), numbers(2, 20)
    above = numbers(3, 9, 20)
    leaves = [one.clone().requires_grad_() for one in (x, weight, bias)]
    made = linear(leaves[0], leaves[1], leaves[2], rounded=True)
    torch.autograd.backward(made, above)
    told = (
        reference.product_of_rounded(above.numpy(), weight.numpy()),
        reference.product_of_rounded(above.t().numpy(), x.numpy()),
        reference.product(np.ones((1, 9), np.float32), above.numpy())[0],
    )
    product_of_both = reference.product_of_rounded(x.numpy(), weight.t().numpy())
    assert reference.same(made.detach(), product_of_both + bias.numpy())
    for one, wanted in zip(leaves, told, strict=True):
        assert reference.same(one.grad, wanted)


def test_a_layer_without_a_bias_has_gradients() -> None:
    x, weight = numbers(0, 4, 3).requires_grad_(), numbers(1, 5, 3).requires_grad_()
    torch.autograd.backward(linear(x, weight).sum())
    assert x.grad is not None
    assert weight.grad is not None
    assert torch.allclose(x.grad, weight.sum(0).expand(4, 3), rtol=1e-4)


@pytest.mark.parametrize("rounded", [False, True])
def test_weights_are_packed_once_while_they_do_not_change(rounded: bool) -> None:
    """And anew when they have: by anybody, in a way that PyTorch does not see, too."""
    flat, x = numbers(0, 24), numbers(1, 5, 6)
    weight = flat.view(4, 6)
    held = PackedWeights([weight])

    def both() -> list[Tensor]:
        forward = linear(x, weight, rounded=rounded)
        return [forward, matmul(forward, weight, None, rounded)]

    for _ in range(2):
        expected = both()
        with held.unchanged():
            for _ in range(3):
                assert all(map(torch.equal, both(), expected))
            first = held.packed(weight.t(), rounded)
            assert held.packed(weight.t(), rounded) is first
        flat.numpy()[...] *= -3
        assert not any(map(torch.equal, both(), expected))


def test_what_is_no_weight_is_packed_anew_each_time() -> None:
    """It may lie where another did that is gone."""
    held, left = PackedWeights([numbers(0, 3, 3)]), numbers(1, 4, 6)
    with held.unchanged():
        for one in range(4):
            right = numbers(one, 6, 5)
            assert torch.equal(matmul(left, right), product(left, pack(right)))
            del right


def test_a_gradient_lies_as_its_weight_does() -> None:
    """So that it is added to others without a copy; its bits are those of the other order."""
    x, above = numbers(0, 7, 6), numbers(1, 7, 4)
    weight = numbers(2, 4, 6).requires_grad_()
    lying = weight.detach().t().contiguous().requires_grad_()
    torch.autograd.backward(linear(x, weight), above)
    torch.autograd.backward(matmul(x, lying), above)
    assert weight.grad is not None
    assert lying.grad is not None
    assert weight.grad.is_contiguous()
    assert torch.equal(weight.grad, lying.grad.t())


def test_it_composes_with_pytorch() -> None:
    left, right, bias = (numbers(0, 5, 8), numbers(1, 8, 3), numbers(2, 3))
    arguments = tuple(one.requires_grad_() for one in (left, right, bias))
    torch.library.opcheck(torch.ops.retort.matmul.default, arguments)


@pytest.mark.parametrize(
    ("left", "right", "bias", "told"),
    [
        (torch.zeros(2, 3), torch.zeros(4, 5), None, "left has 3 columns, and right 4 rows"),
        (
            torch.zeros(2, 3),
            torch.zeros(3, 5),
            torch.zeros(4),
            "bias has 4 elements in a row; give 5",
        ),
        (torch.zeros(2, 3).double(), torch.zeros(3, 5), None, "left is torch.float64 of shape"),
        (torch.zeros(2, 3), torch.zeros(3), None, r"matrix is torch.float32 of shape \[3\]"),
        (
            torch.zeros(2, 3, device="meta"),
            torch.zeros(3, 5),
            None,
            "left is torch.float32 .* on meta",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    left: Tensor, right: Tensor, bias: Tensor | None, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        product(left, pack(right), bias)


def test_the_fastest_kernels_are_taken() -> None:
    assert kernels() is usable()[-1]
    flags = Path("/proc/cpuinfo").read_text(encoding="ascii").split()
    if "avx2" in flags:
        has_v4 = {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= set(flags)
        fastest = "avx512" if has_v4 else "avx2"
        if has_v4 and "avx512_vnni" in flags:
            fastest = "avx512_bf16" if "avx512_bf16" in flags else "avx512_vnni"
        assert kernels().instructions == fastest


def test_kernels_that_are_of_another_architecture_or_were_not_compiled_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    (tmp_path / "c").mkdir()
    file = tmp_path / "c" / f"kernels_{platform.machine()}.so"
    with pytest.raises(RetortError, match=f"{file}: cannot be loaded .* Bazel compiles it"):
        library.usable.__wrapped__()
    other = Path(sys.executable).read_bytes()[:64]
    file.write_bytes(other[:18] + b"\xb7\x00" + other[20:])
    with pytest.raises(RetortError, match=f"{file}: cannot be loaded .* Bazel compiles it"):
        library.usable.__wrapped__()


def test_a_processor_without_kernels_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(
        UserError, match="kernels for x86_64 and aarch64, and this processor is riscv64"
    ):
        library.usable.__wrapped__()
