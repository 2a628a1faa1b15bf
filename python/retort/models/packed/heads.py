"""From the last hidden states of packed texts to what is said of them; see `retort.models.classifier`."""

from itertools import pairwise

import torch
from torch import Tensor

from retort.kernels.embeddings import embedding, summed
from retort.kernels.products import matmul
from retort.kernels.rows import softmaxed
from retort.models.config import HeadConfig
from retort.models.packed.layers import Weights, dense, normed
from retort.models.packed.passes import EXACT, Pass, dropped_at

_HEAD = -2
"""The layer of a place above all layers."""
_EPSILON = 1e-5


def answered(
    config: HeadConfig, weights: Weights, hidden: Tensor, offsets: Tensor, how: Pass
) -> Tensor:
    """Class scores, or a vector, of each text, [texts, outputs]. A head's products are never rounded.

    Args:
        weights: of a `ClassificationHead`, by its names.
        hidden: of all tokens, [tokens, width].
        offsets: of the texts, as in `Sequences`.
    """
    pooled = pool(config, weights, hidden, offsets, how.of_tokens(offsets))
    how = how.of_sequences()
    if config.layer_norm:
        pooled = normed(weights, "norm", pooled, _EPSILON, how)
    pooled = dropped_at(pooled, config.dropout, how, _HEAD, "pooled")
    return dense(weights, "classify", pooled, how)


def pool(
    config: HeadConfig, weights: Weights, hidden: Tensor, offsets: Tensor, how: Pass = EXACT
) -> Tensor:
    """One vector for each text, [texts, width]; a text without a token has zeros."""
    lengths = offsets.diff()
    some = (lengths > 0).float()[:, None]
    if config.pooling == "cls":
        if len(hidden) == 0:
            return hidden.new_zeros(len(lengths), hidden.shape[1])
        first: Tensor = embedding(hidden, offsets[:-1].clamp(max=len(hidden) - 1))
        return first * some
    if config.pooling == "mean":
        total: Tensor = summed(hidden, offsets)
        return total / lengths.clamp(min=1).float()[:, None]
    places = torch.arange(max(int(lengths.max()), 1) if len(lengths) else 1)
    real = places < lengths[:, None]
    if config.pooling == "max":
        lowest = torch.finfo(hidden.dtype).min
        whole = _spread(hidden, real, lowest)
        # As in `ClassificationHead.pool`: equal values share the gradient.
        return whole.amax(dim=1) * some
    scores = matmul(hidden, weights["query.weight"].t(), None, False, how.shards)
    shares = softmaxed(_spread(scores, real, float("-inf"))[..., 0])
    mixed = [
        matmul(shares[text : text + 1, : end - begin], hidden[begin:end])
        for text, (begin, end) in enumerate(pairwise(offsets.tolist()))
    ]
    return torch.cat(mixed) if mixed else hidden.new_zeros(0, hidden.shape[1])


def _spread(rows: Tensor, real: Tensor, beyond: float) -> Tensor:
    """[texts, longest, width] of [tokens, width], with another number where there is no token."""
    whole = rows.new_full((*real.shape, rows.shape[1]), beyond)
    return whole.masked_scatter(real[..., None], rows)
