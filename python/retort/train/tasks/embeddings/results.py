"""What is said of an embedding model's results."""

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from retort.core.report import table
from retort.evaluate.embeddings import EMBEDDINGS, EmbeddingMetrics
from retort.evaluate.report.markdown import md_table, md_text

_TOPICS = ("topic", "precision at 1", "documents")


@dataclass(frozen=True)
class EmbeddingResults:
    """See `retort.evaluate.report.presentation.Presentation`."""

    metrics: EmbeddingMetrics

    results = EMBEDDINGS.name
    samples = "documents"
    pipeline_tag = "sentence-similarity"
    tags = ("sentence-similarity", "feature-extraction", "simcse")

    @property
    def headline(self) -> str:
        """As `Presentation.headline`."""
        return f"precision at 1 {self.metrics.accuracy:.1%}"

    def cards(self) -> dict[str, str]:
        """As `Presentation.cards`."""
        metrics = self.metrics
        low, high = metrics.interval
        return {
            f"precision at 1, held out; 95 % interval {low:.1%} to {high:.1%}": f"{metrics.accuracy:.1%}",
            "Spearman correlation of cosine and same topic": f"{metrics.spearman:.3f}",
            "mean cosine, same topic": f"{metrics.alike:.3f}",
            "mean cosine, other topics": f"{metrics.unlike:.3f}",
            "loss, held out": f"{metrics.loss:.3f}",
        }

    def sections(self) -> list[tuple[str, Markup]]:
        """As `Presentation.sections`."""
        return [("Nearest documents by topic", table(_TOPICS, self._topics()))]

    def hub_metrics(self) -> Mapping[str, float | None]:
        """As `Presentation.hub_metrics`."""
        return {"precision_at_1": self.metrics.accuracy, "spearman": self.metrics.spearman}

    def summary(self, size: str, start: str | None) -> str:
        """As `Presentation.summary`."""
        low, high = self.metrics.interval
        tuned = (
            "" if start is None else f", trained further from `{start}` by SimCSE, without labels"
        )
        return (
            f"An embedding model of {size}{tuned}: texts become vectors of length 1, and the cosine says "
            f"how alike they are. Of {self.metrics.documents:,} held-out documents the nearest one is of "
            f"the same topic for **{self.metrics.accuracy:.1%}** (95 % interval {low:.1%} to {high:.1%})."
        )

    def intended_use(self, dataset: str) -> str:
        """As `Presentation.intended_use`."""
        return (
            f"To find texts like a given one, or groups of them, among texts like those of `{dataset}`. "
            "A cosine is for ranking: what counts as alike is yours to decide by texts of your own."
        )

    def evaluation(self) -> str:
        """As `Presentation.evaluation`."""
        metrics = self.metrics
        low, high = metrics.interval
        figures = [
            ("precision at 1", f"{metrics.accuracy:.4f}"),
            ("95 % interval (Wilson)", f"{low:.4f} to {high:.4f}"),
            (f"Spearman correlation, {metrics.pairs:,} pairs", f"{metrics.spearman:.4f}"),
            ("mean cosine, same topic", f"{metrics.alike:.4f}"),
            ("mean cosine, other topics", f"{metrics.unlike:.4f}"),
            ("loss of the nearest, nats", f"{metrics.loss:.4f}"),
        ]
        topics = [(md_text(topic), *numbers) for topic, *numbers in self._topics()]
        return f"{md_table(('figure', 'value'), figures)}\n\n{md_table(_TOPICS, topics)}"

    def limitations(self) -> list[str]:
        """As `Presentation.limitations`."""
        return [
            "Two texts of one topic count as alike, whatever they say of it: finer likeness was not measured.",
        ]

    def _topics(self) -> list[tuple[str, str, str]]:
        return [
            (one.topic, f"{one.found / one.documents:.4f}", f"{one.documents:,}")
            for one in self.metrics.topics
        ]
