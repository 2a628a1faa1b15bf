"""Loss and perplexity of a language model."""

import json
import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from retort.core.errors import VerificationError
from retort.evaluate.language_metrics import LanguageMetrics, measure_language

BLOCKS = st.lists(st.tuples(st.floats(0.0, 1e3), st.integers(1, 128)), min_size=1, max_size=50)


@given(BLOCKS, st.randoms(use_true_random=False))
def test_the_mean_is_over_tokens_and_no_order_changes_a_bit(
    blocks: list[tuple[float, int]], chance: random.Random
) -> None:
    sums = torch.tensor([one for one, _ in blocks], dtype=torch.float64)
    targets = torch.tensor([count for _, count in blocks])
    if not sums.sum() / targets.sum() < 600:
        return
    metrics = measure_language(sums, targets)
    assert metrics.tokens == sum(count for _, count in blocks)
    assert metrics.loss == pytest.approx(sum(one for one, _ in blocks) / metrics.tokens)
    assert metrics.perplexity == pytest.approx(2**metrics.bits_per_token)
    order = list(range(len(blocks)))
    chance.shuffle(order)
    assert measure_language(sums[order], targets[order]) == metrics
    assert LanguageMetrics.from_json(json.loads(json.dumps(metrics.to_json()))) == metrics


def test_one_who_knows_nothing_of_256_tokens_needs_8_bits() -> None:
    metrics = measure_language(torch.full((3,), 10 * math.log(256)).double(), torch.full((3,), 10))
    assert metrics.bits_per_token == pytest.approx(8, rel=1e-7)
    assert metrics.perplexity == pytest.approx(256, rel=1e-6)
    assert metrics.figures().keys() == {"loss", "perplexity"}


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_losses_that_are_no_numbers_are_not_measured(wrong: float) -> None:
    with pytest.raises(VerificationError, match="1 of 2 blocks have no finite one"):
        measure_language(torch.tensor([1.0, wrong]).double(), torch.tensor([1, 1]))
