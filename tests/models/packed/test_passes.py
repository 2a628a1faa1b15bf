"""Several shards in one pass have the bits of one after the other, whose gradients are added along the tree."""

import copy
from itertools import pairwise
from typing import Literal

import pytest
import torch
from torch import Tensor
from transformers import PretrainedConfig

from retort.models.classifier import ClassificationHead
from retort.models.config import HeadConfig
from retort.models.packed.forms import packed_form
from retort.models.packed.heads import answered
from retort.models.packed.passes import Pass, Places
from retort.models.packed.sequences import Sequences
from retort.train.engines.contract.tree import Node, tree_sum
from tests.models.packed.test_packed import CONFIGS, built, weights_of

LENGTHS = (7, 1, 13, 4, 4, 9)
SEQUENCES = (0, 2, 3, 6)
FIRST = 4
"""Shards 4 to 6 of a step have the sequences from there on."""


def dropping(name: str) -> PretrainedConfig:
    """With dropout wherever it can be."""
    config = copy.deepcopy(CONFIGS[name])
    for key in ("attention_dropout", "attention_probs_dropout_prob", "attn_pdrop"):
        if hasattr(config, key):
            setattr(config, key, 0.2)
    return config


def passes(rounded: bool) -> list[tuple[slice, Pass]]:
    """Of sequences: all shards at once, then each alone."""
    places = Places(7, 3, range(FIRST, FIRST + 3), torch.tensor(SEQUENCES))
    whole = (slice(0, SEQUENCES[-1]), Pass(places, rounded))
    alone = [
        (slice(begin, end), Pass(Places(7, 3, range(shard, shard + 1)), rounded))
        for shard, (begin, end) in enumerate(pairwise(SEQUENCES), FIRST)
    ]
    return [whole, *alone]


def sequences_of(ids: Tensor, part: slice) -> Sequences:
    """Some of them."""
    offsets = torch.tensor([0, *LENGTHS]).cumsum(0)[part.start : part.stop + 1]
    return Sequences(ids[int(offsets[0]) : int(offsets[-1])], offsets - offsets[0])


def assert_same(found: list[dict[str, Tensor]]) -> None:
    """The first has the results of the others, one after the other, and the sums of their gradients."""
    whole, *alone = found
    assert torch.equal(whole.pop("result"), torch.cat([one.pop("result") for one in alone]))
    for name, gradient in whole.items():
        nodes = ((Node(0, number), one[name]) for number, one in enumerate(alone))
        assert torch.equal(gradient, tree_sum(nodes, len(alone), torch.add)), name


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("name", [one for one in CONFIGS if one not in {"llama, tied", "gpt2"}])
def test_shards_of_a_pass_are_those_that_are_alone(name: str, *, rounded: bool) -> None:
    form = packed_form(dropping(name))
    assert form is not None
    ids = torch.randint(3, 60, (sum(LENGTHS),), generator=torch.Generator().manual_seed(1))
    found = []
    for part, how in passes(rounded):
        weights = {key: one.requires_grad_() for key, one in weights_of(built(name)).items()}
        result = form(weights, sequences_of(ids, part), how)
        torch.autograd.backward((result * result).sum())
        gradients = {key: one.grad for key, one in weights.items() if one.grad is not None}
        assert len(gradients) > 20
        found.append({"result": result.detach(), **gradients})
    assert_same(found)


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "attention"])
def test_shards_of_a_head_are_those_that_are_alone(
    pooling: Literal["cls", "mean", "max", "attention"],
) -> None:
    config = HeadConfig(pooling=pooling, layer_norm=True, dropout=0.3)
    hidden = torch.randn(sum(LENGTHS), 24, generator=torch.Generator().manual_seed(2))
    numbers = torch.arange(sum(LENGTHS))
    found = []
    for part, how in passes(rounded=True):
        torch.manual_seed(0)
        head, here = ClassificationHead(24, config, 5), sequences_of(numbers, part)
        weights = dict(head.named_parameters())
        result = answered(config, weights, hidden[here.ids], here.offsets, how)
        torch.autograd.backward((result * result).sum())
        gradients = {key: one.grad for key, one in weights.items() if one.grad is not None}
        assert len(gradients) == len(weights)
        found.append({"result": result.detach(), **gradients})
    assert_same(found)
