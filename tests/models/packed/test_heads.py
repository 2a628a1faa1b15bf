"""The head on packed texts is the classifier's own but for rounding."""

from itertools import pairwise
from typing import Literal

import pytest
import torch

from retort.models.classifier import ClassificationHead
from retort.models.config import HeadConfig
from retort.models.packed.heads import answered, pool
from retort.models.packed.passes import Pass, Places
from retort.models.packed.sequences import Sequences, packed, padded

Pooling = Literal["cls", "mean", "max", "attention"]
POOLINGS: tuple[Pooling, ...] = ("cls", "mean", "max", "attention")
LENGTHS = (7, 1, 13)


def given(
    pooling: Pooling, *, layer_norm: bool = True
) -> tuple[ClassificationHead, torch.Tensor, torch.Tensor]:
    """A head, hidden states of packed texts and their mask."""
    torch.manual_seed(0)
    head = ClassificationHead(24, HeadConfig(pooling=pooling, layer_norm=layer_norm), 5)
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
    return head, torch.randn(sum(LENGTHS), 24), mask


@pytest.mark.parametrize("layer_norm", [True, False])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_packed_head_is_that_of_the_classifier_with_its_gradients(
    pooling: Pooling, *, layer_norm: bool
) -> None:
    head, hidden, mask = given(pooling, layer_norm=layer_norm)
    exact, _, _ = given(pooling, layer_norm=layer_norm)
    exact.double().eval()
    leaf, other = hidden.clone().requires_grad_(), hidden.double().requires_grad_()
    offsets = packed(mask, mask).offsets
    ours = answered(head.config, dict(head.named_parameters()), leaf, offsets, Pass())
    theirs = exact(padded(other, mask), mask.bool())
    above = torch.randn(ours.shape)
    torch.autograd.backward([ours, theirs], [above, above.double()])
    assert torch.allclose(ours.double(), theirs, atol=1e-6)
    for one, wanted in zip((leaf, *head.parameters()), (other, *exact.parameters()), strict=True):
        assert one.grad is not None
        assert wanted.grad is not None
        assert torch.allclose(one.grad.double(), wanted.grad, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_text_has_the_same_bits_in_any_company(pooling: Pooling) -> None:
    head, hidden, mask = given(pooling)
    weights, offsets = dict(head.named_parameters()), packed(mask, mask).offsets
    with torch.no_grad():
        whole = answered(head.config, weights, hidden, offsets, Pass())
        for text, (begin, end) in enumerate(pairwise(offsets.tolist())):
            alone = torch.tensor([0, end - begin])
            one = answered(head.config, weights, hidden[begin:end], alone, Pass())
            assert torch.equal(one[0], whole[text])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_text_without_a_token_has_zeros(pooling: Pooling) -> None:
    head, hidden, _ = given(pooling)
    weights = dict(head.named_parameters())
    pooled = pool(head.config, weights, hidden[:2], torch.tensor([0, 0, 2, 2]))
    assert torch.equal(pooled[0], torch.zeros(24))
    assert torch.equal(pooled[2], torch.zeros(24))
    assert pooled[1].abs().sum() > 0
    nothing = Sequences(torch.zeros(0).long(), torch.tensor([0, 0]))
    assert torch.equal(pool(head.config, weights, hidden[:0], nothing.offsets), torch.zeros(1, 24))


def test_dropout_of_the_head_is_a_function_of_the_place() -> None:
    head, hidden, mask = given("mean")
    weights, offsets = dict(head.named_parameters()), packed(mask, mask).offsets
    with torch.no_grad():
        made = [
            answered(head.config, weights, hidden, offsets, Pass(places))
            for places in (
                None,
                Places(0, 1, range(1)),
                Places(0, 1, range(1)),
                Places(0, 2, range(1)),
            )
        ]
    assert torch.equal(made[1], made[2])
    assert not torch.equal(made[0], made[1])
    assert not torch.equal(made[1], made[3])
