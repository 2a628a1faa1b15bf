"""The roots of a rank are what autograd gives shard by shard, added along the tree."""

import pytest
import torch
from torch import Tensor, nn

from retort.train.engines.contract.gradients import GradientTree
from retort.train.engines.contract.layout import FlatLayout
from retort.train.engines.contract.tree import plan_range, share_of

BLOCK, SHARDS, UNUSED = 64, 5, (1, 2)
"""Shards in which a branch of the model is left out: a right half of a node, and a left one."""


class Branches(nn.Module):
    """Tied weights, a frozen one, one that only some shards reach, and one that none does."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(37, 12)
        self.sometimes = nn.Linear(12, 12)
        self.never = nn.Linear(5, 7)
        self.frozen = nn.Parameter(torch.randn(12), requires_grad=False)
        self.norm = nn.LayerNorm(12)
        self.tied = nn.Linear(12, 37, bias=False)
        self.tied.weight = self.embedding.weight

    def forward(self, ids: Tensor, branch: bool) -> Tensor:
        hidden: Tensor = self.embedding(ids) + self.frozen
        if branch:
            hidden = hidden + self.sometimes(hidden).tanh()
        logits: Tensor = self.tied(self.norm(hidden))
        return logits.logsumexp(-1).sum()


def build() -> tuple[nn.Module, dict[str, nn.Parameter]]:
    torch.manual_seed(3)
    model = Branches()
    named = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
    return model, dict(reversed(named))


def backward(model: nn.Module, step: int, shard: int) -> None:
    random = torch.Generator().manual_seed(100 * step + shard)
    ids = torch.randint(37, (4, 3 + shard), generator=random)
    model(ids, shard not in UNUSED).backward()


def expected(layout: FlatLayout, length: int, step: int) -> list[Tensor]:
    """Each shard's gradient by autograd alone, laid out flat."""
    found = []
    for shard in range(SHARDS):
        model, parameters = build()
        backward(model, step, shard)
        flat = torch.zeros(length)
        for slot in layout.slots:
            gradient = parameters[slot.name].grad
            if gradient is not None:
                flat[slot.start : slot.end] = gradient.reshape(-1)
        found.append(flat)
    return found


def sizes(parameters: dict[str, nn.Parameter]) -> dict[str, int]:
    return {name: one.numel() for name, one in parameters.items()}


def test_tied_weights_have_one_place_and_frozen_ones_none() -> None:
    _, parameters = build()
    assert parameters.keys() == {
        *("norm.bias", "norm.weight", "never.bias", "never.weight"),
        *("sometimes.bias", "sometimes.weight", "embedding.weight"),
    }


def level_by_level(values: list[Tensor]) -> Tensor:
    """Add neighbours, then neighbours of those, until one is left."""
    while len(values) > 1:
        pairs = [left + right for left, right in zip(values[::2], values[1::2], strict=False)]
        values = pairs + values[len(pairs) * 2 :]
    return values[0]


class Rank:
    """One rank's model and sums, and the buckets that became ready, in order."""

    def __init__(self, rank: int, world: int, elements: int) -> None:
        self.model, parameters = build()
        self.parameters = parameters
        self.layout = FlatLayout.of(sizes(parameters), BLOCK)
        self.buckets = self.layout.buckets(world, elements)
        self.share = share_of(rank, world, SHARDS)
        self.plan = plan_range(self.share, SHARDS)
        self.ready: list[int] = []
        self.gradients = GradientTree(
            parameters,
            self.layout,
            self.buckets,
            roots=[torch.zeros(self.buckets[-1].end) for _ in self.plan.roots],
            on_ready=self.ready.append,
        )
        self.gradients.start(self.plan)

    def run(self, step: int, place: int) -> None:
        self.gradients.begin(place)
        backward(self.model, step, self.share[place])
        self.gradients.end()


@pytest.mark.parametrize("elements", [1, 300, 10_000])
@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_roots_are_sums_of_what_autograd_gives_shard_by_shard(world: int, elements: int) -> None:
    for number in range(world):
        rank = Rank(number, world, elements)
        for step in range(2):  # the second finds the sums of the first
            for place in range(len(rank.share)):
                rank.run(step, place)
            by_shard = expected(rank.layout, rank.buckets[-1].end, step)
            for node, root in zip(rank.plan.roots, rank.gradients.roots, strict=True):
                below = by_shard[node.index << node.level : (node.index + 1) << node.level]
                assert torch.equal(root, level_by_level(below))
        assert all(one.grad is None for one in rank.parameters.values())


def test_one_shard_alone_is_autograds_own_gradient() -> None:
    rank = Rank(0, 5, 300)
    rank.run(0, 0)
    assert torch.equal(rank.gradients.roots[0], expected(rank.layout, rank.buckets[-1].end, 0)[0])
    assert rank.gradients.roots[0].count_nonzero() > 500


def test_a_bucket_is_ready_once_and_only_with_the_last_shard() -> None:
    rank = Rank(0, 2, 1)
    assert len(rank.share) == 2
    assert len(rank.buckets) > 5
    rank.run(0, 0)
    assert rank.ready == []
    rank.run(0, 1)
    assert sorted(rank.ready) == list(range(len(rank.buckets)))


def test_a_bucket_is_ready_while_backward_still_runs() -> None:
    rank = Rank(0, 1, 1)
    for place in range(SHARDS - 1):
        rank.run(0, place)
    seen: list[list[int]] = []
    # The embedding is the last that backward reaches.
    embedding = rank.parameters["embedding.weight"]
    embedding.register_hook(lambda _: seen.append([*rank.ready]))  # type: ignore[no-untyped-call]
    rank.gradients.begin(SHARDS - 1)
    backward(rank.model, 0, SHARDS - 1)
    ends = {slot.name: slot.start // BLOCK for slot in rank.layout.slots if slot.size <= BLOCK}
    assert {ends["norm.weight"], ends["sometimes.bias"]} <= set(seen[0])
    assert ends["never.bias"] not in rank.ready
    rank.gradients.end()
    assert sorted(rank.ready) == list(range(len(rank.buckets)))


def test_a_step_in_which_backward_reaches_nothing_of_a_bucket_counts_it_as_zero() -> None:
    rank = Rank(0, 5, 1)
    rank.gradients.roots[0].fill_(float("nan"))
    rank.gradients.roots[0][rank.layout.slots[-1].end :] = 0.0
    rank.run(0, 0)
    slots = {slot.name: slot for slot in rank.layout.slots}
    never = slots["never.weight"]
    assert rank.gradients.roots[0][never.start : never.end].count_nonzero() == 0
