"""Attention has the bits of the reference, and is that of PyTorch but for rounding."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retort.kernels.attention import Setting, attended, attention, attention_gradients
from retort.kernels.elementwise import dropout_at
from retort.kernels.library import Kernels, usable
from tests.kernels import functions, reference
from tests.kernels.drawn import numbers

BY = pytest.mark.parametrize("by", usable(), ids=lambda one: one.instructions)


@BY
@settings(max_examples=12)
@given(
    lengths=st.lists(st.one_of(st.integers(0, 20), st.sampled_from([33, 48])), max_size=3),
    heads=st.sampled_from([(1, 1), (2, 2), (4, 2)]),
    width=st.integers(1, 20),
    asked=st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.6]), st.sampled_from([0.0, 0.002])),
    threads=st.integers(1, 3),
)
def test_attention_has_the_bits_of_the_reference(
    by: Kernels,
    *,
    lengths: list[int],
    heads: tuple[int, int],
    width: int,
    asked: tuple[bool, float, float],
    threads: int,
) -> None:
    (of_q, of_k), (causal, probability, special) = heads, asked
    offsets = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int64)
    tokens, dropout = int(offsets[-1]), dropout_at(probability, width, "weights")
    # Parts of one product, as models have them.
    together = numbers(width, tokens, of_q + 2 * of_k, width, special=special)
    q, k, v = together[:, :of_q], together[:, of_q : of_q + of_k], together[:, of_q + of_k :]
    above = numbers(1, tokens, of_q, width)
    setting = Setting(width**-0.5, causal, (dropout,), None, threads, by)
    result, *found = attention(q, k, v, offsets, setting)
    by_q, by_k, by_v = attention_gradients(above, (q, k, v, offsets), (found[0], found[1]), setting)
    told = functions.attention(
        *(q.numpy(), k.numpy(), v.numpy(), offsets.tolist(), above.numpy()),
        scale=width**-0.5,
        causal=causal,
        below=dropout.below,
        key=dropout.key,
    )
    for one, other in zip((result, by_q, by_k, by_v), told, strict=True):
        assert reference.same(one, other)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shared", [1, 2])
def test_attention_is_that_of_pytorch_with_its_gradients(causal: bool, shared: int) -> None:
    drawn = torch.Generator().manual_seed(0)
    lengths = [5, 50, 33, 0, 64, 17]
    offsets = torch.tensor([0, *np.cumsum(lengths)])
    tokens = int(offsets[-1])
    shapes = [(tokens, 4, 24), *[(tokens, 4 // shared, 24)] * 2]
    ours = [torch.randn(one, generator=drawn).requires_grad_() for one in shapes]
    above = torch.randn(shapes[0], generator=drawn)
    theirs = [one.detach().double().requires_grad_() for one in ours]
    found = attended(ours[0], ours[1], ours[2], offsets, Setting(24**-0.5, causal))
    parts = []
    for begin, end in pairwise(offsets.tolist()):
        of_q, of_k, of_v = (one[begin:end].transpose(0, 1) for one in theirs)
        part = torch.nn.functional.scaled_dot_product_attention(
            of_q, of_k, of_v, is_causal=causal, enable_gqa=True
        )
        parts.append(part.transpose(0, 1))
    exact = torch.cat(parts)
    torch.autograd.backward([found, exact], [above, above.double()])
    assert torch.allclose(found.double(), exact, atol=1e-5)
    for one, other in zip(ours, theirs, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.allclose(one.grad.double(), other.grad, atol=2e-5)


@BY
def test_a_sequence_has_the_same_bits_whatever_lies_beside_it(by: Kernels) -> None:
    """Without dropout, which knows a sequence by its number."""
    q, k, v = (numbers(one, 90, 2, 32) for one in range(3))
    setting = Setting(0.2, by=by)
    offsets = [0, 31, 31, 78, 90]
    whole = attention(q, k, v, torch.tensor(offsets), setting)[0]
    for begin, end in pairwise(offsets):
        part = slice(begin, end)
        alone = attention(q[part], k[part], v[part], torch.tensor([0, end - begin]), setting)[0]
        assert torch.equal(alone, whole[part])


def test_dropout_drops_weights_as_often_as_asked() -> None:
    """Keys that are all alike, and values that tell them apart: the result shows each weight."""
    length = 128
    q = k = torch.zeros(length, 1, length)
    dropout = dropout_at(0.25, 3)
    result = attention(
        q,
        k,
        torch.eye(length)[:, None],
        torch.tensor([0, length]),
        Setting(1.0, dropouts=(dropout,)),
    )[0]
    share = torch.tensor(1 / length) * torch.tensor(dropout.scale)
    assert set(result.flatten().tolist()) == {0.0, share.item()}
    assert abs((result == 0).double().mean().item() - 0.25) < 5 * (0.25 * 0.75) ** 0.5 / length


def test_it_composes_with_pytorch() -> None:
    q, k, v = (numbers(one, 5, 2, 4).requires_grad_() for one in range(3))
    for shards, keys in ((None, [3]), (torch.tensor([0, 1, 2]), [3, 4])):
        torch.library.opcheck(
            torch.ops.retort.attention.default,
            (q, k, v, torch.tensor([0, 2, 5]), shards),
            {"scale": 0.5, "causal": True, "below": 100, "keys": keys},
        )


@pytest.mark.parametrize(
    ("shapes", "offsets", "told"),
    [
        (((3, 4, 8), (3, 3, 8), (3, 3, 8)), [0, 3], "heads of q that are a multiple"),
        (((3, 4, 8), (3, 2, 8), (2, 2, 8)), [0, 3], "give as many tokens"),
        (((3, 4, 8), (3, 2, 6), (3, 2, 8)), [0, 3], "k has 6 elements in a row; give 8"),
        (((3, 4, 8), (3, 2, 8), (3, 2, 8)), [0, 2], "offsets do not ascend from 0 to 3"),
        (((3, 4, 8), (3, 2, 8), (3, 2, 8)), [0, 2, 1, 3], "offsets do not ascend"),
        (((3, 4, 8), (3, 2, 8), (3, 2, 8)), [], "offsets do not ascend"),
    ],
)
def test_what_does_not_fit_is_refused(
    shapes: tuple[tuple[int, ...], ...], offsets: list[int], told: str
) -> None:
    q, k, v = (torch.zeros(one) for one in shapes)
    with pytest.raises(ValueError, match=told):
        attention(q, k, v, torch.tensor(offsets, dtype=torch.int64), Setting(1.0))
