"""Weights that are shared out are whole only where they are needed."""

from itertools import pairwise

import torch
from torch import Tensor

from retort.models.config import LanguageModelConfig
from retort.models.language_model import LanguageModel, build_language_model, token_losses
from retort.train.engines.contract.layout import FlatLayout
from retort.train.engines.contract.tree import Node
from retort.train.engines.sliced.weights import SlicedWeights
from retort.train.timing.phases import PhaseClock

BLOCK, SHARDS = 128, 3
CONFIG = LanguageModelConfig.model_validate(
    {"family": "llama", "hidden": 16, "layers": 3, "heads": 2, "context": 8}
)


def built() -> LanguageModel:
    return build_language_model(CONFIG, 50, 7, "portable").train()


def ids(shard: int) -> Tensor:
    return torch.randint(50, (2, 9), generator=torch.Generator().manual_seed(shard))


def shared_out(model: LanguageModel) -> tuple[SlicedWeights, FlatLayout]:
    named = dict(reversed(list(model.named_parameters())))
    layout = FlatLayout.of({name: one.numel() for name, one in named.items()}, BLOCK)
    held = SlicedWeights(
        named,
        layout,
        layout.buckets(1, BLOCK),
        rank=0,
        world_size=1,
        shards=SHARDS,
        clock=PhaseClock(),
    )
    assert model.portable is not None
    model.portable.weights = held.of
    return held, layout


def test_a_model_has_no_weight_between_its_passes_and_computes_the_same() -> None:
    whole, model = built(), built()
    held, layout = shared_out(model)
    assert len(held.slices) > 10
    assert sum(one.numel() for one in model.parameters()) == 0
    held.begin_step()
    for shard in range(SHARDS):
        with held.leaf([Node(0, shard)]):
            losses = token_losses(model, ids(shard)).sum()
            # Autograd would keep every weight for the backward pass.
            assert all(storage.expired() for storage, _ in held._lent.values())  # type: ignore[no-untyped-call]
            torch.autograd.backward(losses)
            assert losses.item() == token_losses(whole, ids(shard)).sum().item()
    found = torch.cat(held.sums())
    alone = []
    for shard in range(SHARDS):
        whole.zero_grad()
        torch.autograd.backward(token_losses(whole, ids(shard)).sum())
        named = whole.named_parameters()
        alone.append({name: one.grad for name, one in named if one.grad is not None})
    for slot in layout.slots:
        one, two, three = (each[slot.name].reshape(-1) for each in alone)
        assert torch.equal(found[slot.start : slot.end], one + two + three), slot.name
    for before, after in pairwise(layout.slots):
        assert not found[before.end : after.start].any()


def test_what_changed_is_gathered_anew() -> None:
    model = built()
    held, layout = shared_out(model)
    name = layout.slots[0].name
    before = held.gather(name)
    for one in held.slices:
        one.mul_(2)
    held.changed()
    assert torch.equal(held.gather(name), 2 * before)
