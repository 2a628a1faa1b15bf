"""Sequences of tokens that lie one after another."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sequences:
    """What a packed model reads.

    Attributes:
        ids: of all tokens, int64 [tokens].
        offsets: where each sequence begins and the last ends, int64 [sequences + 1].
    """

    ids: Tensor
    offsets: Tensor

    @property
    def positions(self) -> Tensor:
        """Of each token in its sequence, from 0, int64 [tokens]."""
        lengths = self.offsets.diff()
        starts = torch.repeat_interleave(self.offsets[:-1], lengths)
        return torch.arange(len(self.ids)) - starts

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return int(self.offsets.diff().max()) if len(self.offsets) > 1 else 0


def packed(ids: Tensor, mask: Tensor) -> Sequences:
    """Leave out the padding.

    Args:
        ids, mask: int64 [sequences, tokens]; mask is 1 where there is a token, 0 at padding, which is on the right.
    """
    lengths = mask.sum(dim=1)
    offsets = torch.zeros(len(ids) + 1, dtype=torch.int64)
    torch.cumsum(lengths, 0, out=offsets[1:])
    return Sequences(ids[mask.bool()], offsets)


def padded(rows: Tensor, mask: Tensor) -> Tensor:
    """Put back the padding, as zeros.

    Args:
        rows: of all tokens, [tokens, width].
        mask: as of `packed`.
    Returns:
        [sequences, tokens, width].
    """
    whole = rows.new_zeros(*mask.shape, rows.shape[1])
    return whole.masked_scatter(mask.bool()[..., None], rows)
