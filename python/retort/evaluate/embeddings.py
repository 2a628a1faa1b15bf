"""How well the angles between embeddings tell texts of one topic from those of others.

The labels of held-out documents are their topics, which training does not use. Two documents of one
topic are a pair alike, two of different topics one that is not, as in a test of semantic textual
similarity; and each document is a query that should find another of its topic.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from retort.core.errors import DataError, VerificationError
from retort.data.store.store import TokenStore
from retort.evaluate.elementary import exp, log
from retort.evaluate.held_out import HELD_OUT, HeldOutTexts
from retort.evaluate.intervals import wilson_interval
from retort.evaluate.task import Demands, ResultFile

EMBEDDINGS = ResultFile("embeddings", "documents", torch.float32)
_CPU = torch.device("cpu")
_DOCUMENTS = 1024
"""That are compared at most: they have half a million pairs."""
_STEPS = 2.0**25
"""To which 1 is cut: products of two such numbers, and sums of these below 8, fit into 53 bits."""
_TEMPERATURE = 0.05
"""Of the loss: one for all recipes, so that their losses can be compared."""


@dataclass(frozen=True)
class TopicMetrics:
    """One topic: of its documents, how many there are, and how many found one of them first."""

    topic: str
    documents: int
    found: int


@dataclass(frozen=True)
class EmbeddingMetrics:
    """Figures of one set of documents.

    Attributes:
        accuracy: precision at 1: of documents that have another of their topic, how many of them are
            nearest to such a one; interval: its 95 % Wilson score interval.
        spearman: rank correlation of the cosine of each pair with whether it is of one topic.
        alike, unlike: mean cosines of pairs of one topic, and of different ones.
        loss: mean negative logarithm of the share of its own topic in a softmax over the cosines of
            a document with all others (Goldberger et al. 2004, at temperature 0.05), in nats.
    """

    documents: int
    pairs: int
    accuracy: float
    interval: tuple[float, float]
    spearman: float
    alike: float
    unlike: float
    loss: float
    topics: tuple[TopicMetrics, ...]

    def figures(self) -> dict[str, float]:
        """What is worth a curve over the steps, by name."""
        return {"accuracy": self.accuracy, "spearman": self.spearman, "loss": self.loss}

    def line(self) -> str:
        """As `Measured.line`."""
        return (
            f"precision at 1 {self.accuracy:.4f} of {self.documents} held-out documents, Spearman "
            f"correlation {self.spearman:.4f} over their {self.pairs} pairs"
        )

    def missed(self, demands: Demands) -> str | None:
        """As `Measured.missed`."""
        return demands.missed(accuracy=self.accuracy, loss=self.loss)

    def to_json(self) -> dict[str, Any]:
        """A JSON object, read back by `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "EmbeddingMetrics":
        """The inverse of `to_json`, also after a round through JSON text."""
        topics = tuple(TopicMetrics(**one) for one in value["topics"])
        interval = (value["interval"][0], value["interval"][1])
        return cls(**{**value, "interval": interval, "topics": topics})


class HeldOutTopics:
    """Held-out documents for an embedding model, 1024 at most, and their topics; see `HeldOut`."""

    def __init__(self, store: TokenStore, max_tokens: int, device: torch.device = _CPU) -> None:
        """
        Args:
            max_tokens, device: as of `HeldOutTexts`.
        Raises:
            DataError: as `HeldOutTexts`, or no pair is of one topic, or none of two.
        """
        self._texts = HeldOutTexts(store, max_tokens, device, _DOCUMENTS)
        self._names = store.labels
        self._topics = store.part(HELD_OUT).labels[self._texts.documents]
        counts = np.unique(self._topics, return_counts=True)[1]
        if len(counts) < 2 or counts.max() < 2:
            raise DataError(
                f"{store.sealed.path}: embeddings are measured by pairs of held-out documents, some "
                "of one label and some of two, and there are no such ones; hold out more of them"
            )
        self.batches = self._texts.batches
        """Number of batches."""

    def results(self, model: nn.Module, number: int) -> Tensor:
        """Vectors of one batch, float32, [texts, hidden], of length 1, on the CPU.

        Args:
            model: a `TextEmbedder` in evaluation mode.
            number: of the batch, from 0.
        """
        return self._texts.results(model, number)

    def measure(self, results: Tensor) -> EmbeddingMetrics:
        """Figures from the vectors of all documents, float32 [documents, hidden], of length 1.

        Raises:
            VerificationError: a vector is not finite.
        """
        return measure_embeddings(results, self._topics, self._names)


def measure_embeddings(
    vectors: Tensor, topics: NDArray[np.int64], names: Sequence[str]
) -> EmbeddingMetrics:
    """All figures of vectors, some of one topic and some of two.

    Cosines are of vectors rounded to multiples of 2**-25 (1e-8 in a cosine), so that
    each product and each sum of some is exact in float64, whatever library adds them in what order;
    sums of what comes of them are rounded once.

    Args:
        vectors: float32 [documents, numbers], of length 1.
        topics: [documents], numbers of `names`.
    Raises:
        VerificationError: a vector is not finite.
    """
    wrong = int((~vectors.isfinite()).any(dim=1).sum())
    if wrong:
        raise VerificationError(
            f"vectors of {wrong} of {len(vectors)} held-out documents are not finite"
        )
    each = np.rint(vectors.double().numpy() * _STEPS) / _STEPS
    cosines = each @ each.T
    same = topics[:, None] == topics
    pairs = np.triu_indices(len(topics), 1)
    of_pairs, alike = cosines[pairs], same[pairs]

    np.fill_diagonal(cosines, -np.inf)  # nobody finds himself
    queries = np.flatnonzero(same.sum(axis=1) > 1)
    asked, wanted = cosines[queries], same[queries]
    found = wanted[np.arange(len(queries)), asked.argmax(axis=1)]
    weights = exp((asked - asked.max(axis=1, keepdims=True)) / _TEMPERATURE)
    shares = _sums(np.where(wanted, weights, 0.0)) / _sums(weights)
    right = int(found.sum())
    return EmbeddingMetrics(
        documents=len(topics),
        pairs=len(of_pairs),
        accuracy=right / len(queries),
        interval=wilson_interval(right, len(queries)),
        spearman=spearman(of_pairs, alike),
        alike=_mean(of_pairs[alike]),
        unlike=_mean(of_pairs[~alike]),
        loss=_mean(-log(shares)),
        topics=tuple(
            TopicMetrics(
                topic=names[topic],
                documents=int((topics[queries] == topic).sum()),
                found=int(found[topics[queries] == topic].sum()),
            )
            for topic in np.unique(topics[queries]).tolist()
        ),
    )


def spearman(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Spearman's rank correlation of scores with yes or no, ties at their middle rank.

    Args:
        scores, positive: [pairs], of both kinds; all scores the same: 0.
    """
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    # Twice the middle rank, less its mean: whole numbers.
    ranks = (2 * np.cumsum(counts) - counts - len(scores))[places]
    positives = int(positive.sum())
    spread = int((ranks * ranks).sum()) * positives * (len(scores) - positives)
    share = int(ranks[positive].sum())
    return share * math.sqrt(len(scores) / spread) if spread else 0.0


def _sums(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([math.fsum(row) for row in rows.tolist()])


def _mean(values: NDArray[np.float64]) -> float:
    return math.fsum(values.tolist()) / len(values)
