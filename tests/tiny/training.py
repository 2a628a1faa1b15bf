"""A training that takes no time: a BERT with dropout, its batches, and PyTorch's own optimizer."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForSequenceClassification

from retort.models.parameters import ParameterGroup

RATES = (2e-3, 4e-3, 3e-3, 1e-3)
BETAS, EPS, CLIP = (0.8, 0.95), 1e-6, 0.05
FROZEN = "bert.embeddings.position_embeddings.weight"
Batch = tuple[Tensor, Tensor]


def build() -> BertForSequenceClassification:
    """A classifier with dropout, whose tensors divide by nothing; one of them is frozen."""
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=61,
        hidden_size=18,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=27,
        max_position_embeddings=16,
        hidden_dropout_prob=0.2,
    )
    config.num_labels = 3
    model = BertForSequenceClassification(config)
    model.get_parameter(FROZEN).requires_grad_(False)
    return model


def parameter_groups(model: nn.Module) -> list[ParameterGroup]:
    """Three: what learns more slowly, what decays, and what does not."""
    trained = [(name, each.ndim) for name, each in model.named_parameters() if each.requires_grad]
    slow = tuple(name for name, _ in trained if "embeddings" in name or "wte" in name)
    matrices = tuple(name for name, ndim in trained if name not in slow and ndim > 1)
    vectors = tuple(name for name, ndim in trained if name not in slow and ndim <= 1)
    return [
        ParameterGroup(slow, lr_scale=0.5, weight_decay=0.1),
        ParameterGroup(matrices, lr_scale=1.0, weight_decay=0.1),
        ParameterGroup(vectors, lr_scale=1.0, weight_decay=0.0),
    ]


def micro_batch(step: int, shard: int) -> Batch:
    """Three documents of a shard; other shards have documents of another length."""
    random = torch.Generator().manual_seed(100 * step + shard)
    ids = torch.randint(0, 61, (3, 5 + shard), generator=random)
    return ids, ids.sum(dim=1) % 3


def loss_of(model: nn.Module, batch: Batch, step: int) -> Tensor:
    """The share of a step's loss that a shard has, [1]; later steps weigh more."""
    ids, labels = batch
    total = cross_entropy(model(input_ids=ids).logits, labels, reduction="sum")
    return total.reshape(1) * (1 + step) / 24


def open_optimizer(
    model: nn.Module, *, eps: float = EPS, fused: bool = True
) -> torch.optim.Optimizer:
    """PyTorch's, of the same groups; each has its `scale` of the learning rate."""
    weights = dict(model.named_parameters())
    groups = [
        {
            "params": [weights[name] for name in group.names],
            "weight_decay": group.weight_decay,
            "scale": group.lr_scale,
        }
        for group in parameter_groups(model)
    ]
    return torch.optim.AdamW(groups, betas=BETAS, eps=eps, fused=fused)


def update(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """One step at a learning rate; gradients are gone then."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["scale"]
    optimizer.step()
    optimizer.zero_grad()
