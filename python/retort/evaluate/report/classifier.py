"""What is said of a classifier's results."""

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from retort.core.report import table
from retort.evaluate.metrics import Metrics
from retort.evaluate.report.classifier_plots import confusion_picture, reliability_picture
from retort.evaluate.report.markdown import md_table, md_text
from retort.evaluate.task import LOGITS

_SIDE_BY_SIDE = 8
"""Labels up to which the confusion matrix can be read at half the page's width."""


@dataclass(frozen=True)
class ClassifierResults:
    """See `presentation.Presentation`."""

    metrics: Metrics

    results = LOGITS.name
    samples = "documents"
    pipeline_tag = "text-classification"
    tags = ("text-classification",)

    @property
    def headline(self) -> str:
        """As `Presentation.headline`."""
        return f"accuracy {self.metrics.accuracy:.1%}"

    def cards(self) -> dict[str, str]:
        """As `Presentation.cards`."""
        metrics = self.metrics
        low, high = metrics.interval
        return {
            f"accuracy, held out; 95 % interval {low:.1%} to {high:.1%}": f"{metrics.accuracy:.1%}",
            "macro-F1": f"{metrics.macro_f1:.3f}",
            "ROC-AUC, one label against the rest": _area(metrics.macro_auc),
            "expected calibration error": f"{metrics.calibration_error:.3f}",
            "loss, held out": f"{metrics.loss:.3f}",
        }

    def sections(self) -> list[tuple[str, Markup]]:
        """As `Presentation.sections`."""
        labels = [label.label for label in self.metrics.labels]
        confusion = confusion_picture(self.metrics.confusion, labels)
        reliability = reliability_picture(self.metrics.bins)
        pictures = (
            Markup('<div class="pair">{}{}</div>')
            if len(labels) <= _SIDE_BY_SIDE
            else Markup('{}<div class="narrow">{}</div>')
        )
        return [
            ("Confusion and reliability", pictures.format(confusion, reliability)),
            ("Labels", _labels_table(self.metrics)),
        ]

    def hub_metrics(self) -> Mapping[str, float | None]:
        """As `Presentation.hub_metrics`."""
        return {
            "accuracy": self.metrics.accuracy,
            "f1": self.metrics.macro_f1,
            "roc_auc": self.metrics.macro_auc,
            "expected_calibration_error": self.metrics.calibration_error,
        }

    def summary(self, size: str, start: str | None) -> str:
        """As `Presentation.summary`."""
        low, high = self.metrics.interval
        tuned = "" if start is None else f", fine-tuned from `{start}`"
        return (
            f"A text classifier of {len(self.metrics.labels)} labels and {size}{tuned}. "
            f"Accuracy on {self.metrics.documents:,} held-out documents: "
            f"**{self.metrics.accuracy:.1%}** (95 % interval {low:.1%} to {high:.1%})."
        )

    def intended_use(self, dataset: str) -> str:
        """As `Presentation.intended_use`."""
        labels = ", ".join(md_text(one.label) for one in self.metrics.labels)
        return (
            f"To give texts like those of `{dataset}` one of the labels {labels}. It gives "
            "every text one of them, also a text that none of them fits."
        )

    def evaluation(self) -> str:
        """As `Presentation.evaluation`."""
        metrics = self.metrics
        low, high = metrics.interval
        figures = md_table(
            ("figure", "value"),
            [
                ("accuracy", f"{metrics.accuracy:.4f}"),
                ("95 % interval (Wilson)", f"{low:.4f} to {high:.4f}"),
                ("macro-F1", f"{metrics.macro_f1:.4f}"),
                ("ROC-AUC, one label against the rest", _area(metrics.macro_auc)),
                ("expected calibration error, 15 bins", f"{metrics.calibration_error:.4f}"),
                ("negative log-likelihood", f"{metrics.loss:.4f}"),
            ],
        )
        labels = md_table(
            ("label", "precision", "recall", "F1", "ROC-AUC", "documents"),
            [
                (
                    md_text(one.label),
                    f"{one.precision:.4f}",
                    f"{one.recall:.4f}",
                    f"{one.f1:.4f}",
                    _area(one.auc),
                    f"{one.support:,}",
                )
                for one in metrics.labels
            ],
        )
        return f"{figures}\n\n{labels}"

    def limitations(self) -> list[str]:
        """As `Presentation.limitations`."""
        weakest = min(self.metrics.labels, key=lambda one: (one.f1, one.label))
        return [
            f"Its weakest label is {md_text(weakest.label)}, with F1 {weakest.f1:.3f} on "
            f"{weakest.support:,} documents.",
            "Its probabilities are as the model gives them, not calibrated afterwards; they are "
            f"off by {self.metrics.calibration_error:.3f} on the mean.",
        ]


def _labels_table(metrics: Metrics) -> Markup:
    rows = [
        (
            one.label,
            f"{one.precision:.3f}",
            f"{one.recall:.3f}",
            f"{one.f1:.3f}",
            _area(one.auc),
            f"{one.support:,}",
        )
        for one in metrics.labels
    ]
    for name, mean, area in (
        ("mean of labels (macro)", metrics.macro, _area(metrics.macro_auc)),
        ("of documents (micro)", metrics.micro, ""),
    ):
        numbers = (f"{mean.precision:.3f}", f"{mean.recall:.3f}", f"{mean.f1:.3f}")
        rows.append((Markup("<b>{}</b>").format(name), *numbers, area, f"{metrics.documents:,}"))
    return table(("label", "precision", "recall", "F1", "ROC-AUC", "documents"), rows)


def _area(auc: float | None) -> str:
    return "none" if auc is None else f"{auc:.4f}"
