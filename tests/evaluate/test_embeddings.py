"""Figures of embeddings, against scipy and scikit-learn, and the documents that they are of."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import spearmanr  # type: ignore[import-untyped]
from sklearn.neighbors import NearestNeighbors  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn.functional import normalize

from retort.core.errors import DataError, VerificationError
from retort.data.store.store import TokenStore
from retort.evaluate.embeddings import (
    EmbeddingMetrics,
    HeldOutTopics,
    measure_embeddings,
    spearman,
)
from retort.evaluate.task import Demands
from tests.tiny.store import documents, write_tiny_store

NAMES = ("business", "sport", "tech")


def case(count: int, seed: int = 0) -> tuple[Tensor, NDArray[np.int64]]:
    """Vectors that lean to their topic, and the topics; one document alone has the last one."""
    chance = torch.Generator().manual_seed(seed)
    topics = torch.randint(2, (count,), generator=chance)
    topics[count // 2] = 2
    lean = torch.eye(3)[topics] @ torch.randn(3, 8, generator=chance)
    vectors = normalize(lean + torch.randn(count, 8, generator=chance), dim=1)
    return vectors, topics.numpy()


@given(
    scores=st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=60).filter(
        lambda rows: len({yes for _, yes in rows}) == 2
    )
)
@example(scores=[(1, True), (1, False), (1, False)])
def test_the_rank_correlation_is_scipys_with_ties_too(scores: list[tuple[int, bool]]) -> None:
    values = np.array([score / 4 for score, _ in scores])
    positive = np.array([yes for _, yes in scores])
    found = spearman(values, positive)
    if len(set(values.tolist())) == 1:
        assert found == 0.0
    else:
        assert found == pytest.approx(spearmanr(values, positive).statistic, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_precision_at_1_is_that_of_the_nearest_neighbour(seed: int) -> None:
    vectors, topics = case(70, seed)
    nearest = NearestNeighbors(n_neighbors=2, metric="cosine").fit(vectors.numpy())
    found = nearest.kneighbors(vectors.numpy(), return_distance=False)[:, 1]
    asked = topics != 2  # the only one of its topic has nothing to find
    metrics = measure_embeddings(vectors, topics, NAMES)
    assert metrics.accuracy == pytest.approx((topics[found] == topics)[asked].mean())
    assert metrics.interval[0] < metrics.accuracy <= metrics.interval[1]
    assert [one.topic for one in metrics.topics] == ["business", "sport"]
    assert sum(one.found for one in metrics.topics) == round(metrics.accuracy * asked.sum())
    assert sum(one.documents for one in metrics.topics) == asked.sum()


def test_pairs_and_loss_are_those_of_their_definitions() -> None:
    vectors, topics = case(40)
    metrics = measure_embeddings(vectors, topics, NAMES)
    cosines = vectors.double() @ vectors.double().T
    same: list[float] = []
    other: list[float] = []
    losses = []
    for first in range(40):
        share = whole = 0.0
        for second in range(40):
            alike = topics[first] == topics[second]
            if first < second:
                (same if alike else other).append(cosines[first, second].item())
            if first != second:
                weight = math.exp(cosines[first, second].item() / 0.05)
                whole, share = whole + weight, share + (weight if alike else 0.0)
        if topics[first] != 2:
            losses.append(-math.log(share / whole))
    assert (metrics.documents, metrics.pairs) == (40, 40 * 39 // 2)
    assert metrics.alike == pytest.approx(np.mean(same))
    assert metrics.unlike == pytest.approx(np.mean(other))
    assert metrics.loss == pytest.approx(np.mean(losses))
    statistic = spearmanr([*same, *other], [*(1 for _ in same), *(0 for _ in other)]).statistic
    assert metrics.spearman == pytest.approx(statistic, abs=1e-12)


def test_figures_go_through_json_and_are_held_to_demands() -> None:
    metrics = measure_embeddings(*case(40), NAMES)
    assert EmbeddingMetrics.from_json(json.loads(json.dumps(metrics.to_json()))) == metrics
    assert {"loss", "accuracy"} <= metrics.figures().keys()
    assert metrics.missed(Demands(metrics.accuracy, metrics.loss)) is None
    worse = dataclasses.replace(metrics, accuracy=0.3)
    assert worse.missed(Demands(min_accuracy=0.4)) == (
        "accuracy 0.3000 is under evaluate.min_accuracy 0.4"
    )


def test_vectors_that_are_not_finite_are_refused() -> None:
    vectors, topics = case(40)
    vectors[3, 2] = vectors[7, 1] = math.nan
    with pytest.raises(VerificationError, match="vectors of 2 of 40 held-out documents are not"):
        measure_embeddings(vectors, topics, NAMES)


def test_of_many_held_out_documents_a_thousand_from_all_over_the_part_are_compared(
    tmp_path: Path,
) -> None:
    labels = ["sport"] * 1100 + ["tech"] * 300
    given = [
        dataclasses.replace(one, part="held_out", label=label)
        for one, label in zip(documents(1400), labels, strict=True)
    ]
    write_tiny_store(tmp_path / "store", [*documents(60, first=1400), *given])
    store = TokenStore.open(tmp_path / "store")
    there = len(store.part("held_out"))
    assert there > 1300
    held_out = HeldOutTopics(store, 8)
    assert held_out.batches == 32
    metrics = held_out.measure(normalize(torch.randn(1024, 4), dim=1))
    assert metrics.documents == 1024
    assert {one.topic: one.documents * there // 1024 > 250 for one in metrics.topics} == {
        "sport": True,
        "tech": True,
    }


def test_held_out_documents_that_make_no_pairs_are_refused(tmp_path: Path) -> None:
    given = [one for one in documents(40) if one.part == "train"]
    held_out = [
        dataclasses.replace(one, part="held_out", label=label)
        for one, label in zip(documents(2, first=40), ("sport", "tech"), strict=True)
    ]
    write_tiny_store(tmp_path / "store", [*given, *held_out])
    with pytest.raises(DataError, match=r"store: embeddings are measured by pairs of held-out"):
        HeldOutTopics(TokenStore.open(tmp_path / "store"), 8)
