"""The norm of a gradient that ranks hold in slices: the same bits however it is sliced."""

import math

import torch
from torch import Tensor

from retort.kernels.optimizer import squares


def block_squares(values: Tensor, block: int, *, portable: bool = False) -> Tensor:
    """The sum of squares of each block, float64, one call of one shape for each.

    Args:
        values: float32, 1-d, a multiple of `block` long.
        portable: by portable kernels, and not by PyTorch.
    """
    if portable:
        return squares(values, torch.arange(0, len(values) + 1, block))
    blocks = values.view(-1, block)
    if values.is_cuda:
        return tree_squares(blocks)
    norms = [torch.linalg.vector_norm(one, dtype=torch.float64) for one in blocks]
    return torch.stack(norms).square()


def tree_squares(blocks: Tensor) -> Tensor:
    """The sum of squares of each row, float64, by additions of halves: bits that no number of rows changes.

    It reads more memory than one call for each block, and starts 17 kernels where that one starts 1,680 for BERT-base,
    which on a GPU take longer than what they compute.

    Args:
        blocks: float32, [rows, a power of two].
    """
    squares = blocks.double().square_()
    while squares.shape[1] > 1:
        left, right = squares.chunk(2, dim=1)
        squares = left + right
    return squares.flatten()


def norm_of(of_blocks: Tensor) -> float:
    """The square root of the sum of all blocks' squares, added along the canonical tree.

    Args:
        of_blocks: float64, one for each block of the whole vector, in order.
    """
    level = of_blocks
    while len(level) > 1:
        pairs = len(level) // 2
        left, right = level[: 2 * pairs].view(pairs, 2).unbind(1)
        # What has no neighbour on its right moves up as it is.
        level = torch.cat([left + right, level[2 * pairs :]])
    return math.sqrt(level.item())
