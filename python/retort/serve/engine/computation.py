"""What a model says of a batch of texts, and the test that it says the same of each alone."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retort.core.errors import RetortError, UserError
from retort.models.arithmetic import is_portable
from retort.models.checkpoint import Checkpoint
from retort.models.config import PrecisionName
from retort.models.fixed import fix_layers
from retort.models.packed.sequences import Sequences
from retort.models.predict import probabilities_of

_TESTED_LENGTHS = (1, 2, 3, 7, 16, 33, 64, 129)
"""Of the texts of the self-test: around what kernels treat apart."""


class SelfTestFailed(RetortError):
    """On this machine the model does not say the same of a text in company as alone."""


def hold(checkpoint: Checkpoint, precision: PrecisionName | None) -> None:
    """Have the weights in memory once, as products of this precision read them.

    Args:
        precision: None: the one that it was verified in.
    Raises:
        UserError: the model has no such form.
    """
    model, sealed = checkpoint.model, checkpoint.precision
    precision = precision or sealed
    if precision == sealed == "int8":
        return  # it was read so
    if "int8" in (precision, sealed):
        raise UserError(
            f"--precision {precision} is not for this checkpoint, which is {sealed}; "
            f"//serve:export makes one of {precision} from the checkpoint that was trained"
        )
    if model.portable is not None:
        fix_layers(model, rounded=precision == "bfloat16")
    elif precision != "float32":
        raise UserError(
            f"--precision {precision} is for checkpoints in portable arithmetic, and this is in native"
        )


@torch.inference_mode()
def probabilities(
    checkpoint: Checkpoint, ids: NDArray[np.int64], lengths: Sequence[int]
) -> NDArray[np.float32]:
    """Of the labels of texts, [texts, labels]; a text that the model fails on has NaN, and others do not suffer.

    Args:
        ids: of all texts, one after another, special tokens included.
        lengths: how many each has.
    """
    try:
        scores = _scores(checkpoint, ids, lengths)
    except Exception:
        if len(lengths) == 1:
            return np.full((1, len(checkpoint.labels)), np.nan, np.float32)
        bounds = np.cumsum([0, *lengths]).tolist()
        alone = [probabilities(checkpoint, ids[a:b], [b - a]) for a, b in pairwise(bounds)]
        return np.concatenate(alone)
    failed = ~scores.isfinite().all(dim=1)
    found = probabilities_of(checkpoint, scores.nan_to_num())
    found[failed] = torch.nan
    return found.numpy()


def self_test(checkpoint: Checkpoint) -> None:
    """Hold what this machine computes of texts together to what it computes of each alone.

    Also warms up. A control is one other token, which must be seen.

    Raises:
        SelfTestFailed: the bits differ, or those of the control do not.
    """
    most = checkpoint.tokenise.max_tokens
    lengths = sorted({min(length, most) for length in _TESTED_LENGTHS})
    numbers = np.arange(sum(lengths), dtype=np.int64) * 7919 % checkpoint.tokenise.vocabulary_size
    together = probabilities(checkpoint, numbers, lengths)
    ends = np.cumsum(lengths).tolist()
    for row, (length, end) in enumerate(zip(lengths, ends, strict=True)):
        alone = probabilities(checkpoint, numbers[end - length : end], [length])
        if alone.tobytes() != together[row : row + 1].tobytes():
            raise SelfTestFailed(
                f"a text of {length} tokens is answered otherwise alone than with others; "
                "this machine's kernels cannot be trusted"
            )
    changed = numbers.copy()
    changed[-lengths[-1] // 2] = (changed[-lengths[-1] // 2] + 1) % (numbers.max() + 1)
    if probabilities(checkpoint, changed, lengths)[-1].tobytes() == together[-1].tobytes():
        raise SelfTestFailed("the model answers a changed text as it was")


def _scores(checkpoint: Checkpoint, ids: NDArray[np.int64], lengths: Sequence[int]) -> Tensor:
    """Logits, float32 [texts, labels]: in portable arithmetic in one pass, otherwise of one text after another."""
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    flat = torch.from_numpy(ids)
    if is_portable(checkpoint.model):
        return checkpoint.model.of_sequences(Sequences(flat, offsets))
    return torch.cat(
        [
            checkpoint.model(flat[None, a:b], torch.ones(1, b - a, dtype=torch.int64))
            for a, b in pairwise(offsets.tolist())
        ]
    )
