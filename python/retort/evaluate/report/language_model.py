"""What is said of a language model's results."""

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from retort.evaluate.language_metrics import LanguageMetrics
from retort.evaluate.report.markdown import md_table
from retort.evaluate.task import LOSSES


@dataclass(frozen=True)
class LanguageModelResults:
    """See `presentation.Presentation`."""

    metrics: LanguageMetrics

    results = LOSSES.name
    samples = "blocks"
    pipeline_tag = "text-generation"
    tags = ("text-generation", "causal-lm")

    @property
    def headline(self) -> str:
        """As `Presentation.headline`."""
        return f"perplexity {self.metrics.perplexity:.2f}"

    def cards(self) -> dict[str, str]:
        """As `Presentation.cards`."""
        return {
            "perplexity, held out": f"{self.metrics.perplexity:,.2f}",
            "loss in nats a token": f"{self.metrics.loss:.4f}",
            "bits a token": f"{self.metrics.bits_per_token:.4f}",
            "tokens held out": f"{self.metrics.tokens:,}",
        }

    def sections(self) -> list[tuple[str, Markup]]:
        """As `Presentation.sections`."""
        return []

    def hub_metrics(self) -> Mapping[str, float | None]:
        """As `Presentation.hub_metrics`."""
        return {"perplexity": self.metrics.perplexity, "loss": self.metrics.loss}

    def summary(self, size: str, start: str | None) -> str:
        """As `Presentation.summary`."""
        return (
            f"A causal language model of {size}, trained from scratch. Perplexity on "
            f"{self.metrics.tokens:,} held-out tokens: **{self.metrics.perplexity:,.2f}**."
        )

    def intended_use(self, dataset: str) -> str:
        """As `Presentation.intended_use`."""
        return (
            f"Research on language models and on texts like those of `{dataset}`. It was not "
            "taught to follow instructions or to refuse any."
        )

    def evaluation(self) -> str:
        """As `Presentation.evaluation`."""
        return md_table(
            ("figure", "value"),
            [
                ("perplexity", f"{self.metrics.perplexity:,.4f}"),
                ("loss, nats a token", f"{self.metrics.loss:.4f}"),
                ("bits a token", f"{self.metrics.bits_per_token:.4f}"),
                ("tokens", f"{self.metrics.tokens:,}"),
            ],
        )

    def limitations(self) -> list[str]:
        """As `Presentation.limitations`."""
        return ["What it writes may be false, however fluent."]
