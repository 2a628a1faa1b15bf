"""What the folds of a cross-validation say together."""

import math
from dataclasses import dataclass

from markupsafe import Markup

from retort.core.digest import JSON
from retort.core.pictures import BLUE, INK, ORANGE, new_figure, style, svg
from retort.core.report import code, render
from retort.evaluate.intervals import student_interval, wilson_interval
from retort.evaluate.metrics import Metrics


@dataclass(frozen=True)
class Fold:
    """One finished run, that learned from all folds but its own.

    Attributes:
        number: from 0; seal: of its checkpoint; failure: why it is not good enough, if it is not.
    """

    number: int
    seal: str
    metrics: Metrics
    failure: str | None


@dataclass(frozen=True)
class CrossValidation:
    """At least two folds of one recipe; each document is held out in one of them at most."""

    recipe: str
    folds: tuple[Fold, ...]

    @property
    def accuracies(self) -> tuple[float, ...]:
        """Of each fold."""
        return tuple(fold.metrics.accuracy for fold in self.folds)

    @property
    def mean(self) -> float:
        """Mean accuracy, each fold counting the same."""
        return math.fsum(self.accuracies) / len(self.folds)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean, by Student's t over the folds, inside 0 .. 1."""
        low, high = student_interval(self.accuracies)
        return max(0.0, low), min(1.0, high)

    @property
    def documents(self) -> int:
        """Of all folds together."""
        return sum(fold.metrics.documents for fold in self.folds)

    @property
    def right(self) -> int:
        """Documents of all folds together whose label was found."""
        matrices = (fold.metrics.confusion for fold in self.folds)
        return sum(row[place] for matrix in matrices for place, row in enumerate(matrix))

    @property
    def pooled_interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy of all documents taken together."""
        return wilson_interval(self.right, self.documents)

    def to_json(self) -> dict[str, JSON]:
        """A JSON object: nothing in it depends on the time or the machine's name."""
        return {
            "recipe": self.recipe,
            "accuracy": self.mean,
            "interval": list(self.interval),
            "macro_f1": math.fsum(fold.metrics.macro_f1 for fold in self.folds) / len(self.folds),
            "documents": self.documents,
            "pooled_accuracy": self.right / self.documents,
            "pooled_interval": list(self.pooled_interval),
            "folds": [
                {
                    "fold": fold.number,
                    "seal": fold.seal,
                    "documents": fold.metrics.documents,
                    "accuracy": fold.metrics.accuracy,
                    "interval": list(fold.metrics.interval),
                    "macro_f1": fold.metrics.macro_f1,
                    "failure": fold.failure,
                }
                for fold in self.folds
            ],
        }

    def line(self) -> str:
        """Everything in one line."""
        low, high = self.interval
        pooled_low, pooled_high = self.pooled_interval
        each = " ".join(f"{accuracy:.4f}" for accuracy in self.accuracies)
        return (
            f"mean accuracy {self.mean:.4f}, 95 % interval {low:.4f} to {high:.4f} (Student's t, "
            f"{len(self.folds)} folds: {each}); pooled {self.right / self.documents:.4f}, "
            f"{pooled_low:.4f} to {pooled_high:.4f} (Wilson, {self.documents} documents)"
        )


def render_folds(found: CrossValidation) -> str:
    """A page with a picture and a table of the folds, the same bytes for the same folds."""
    (low, high), (pooled_low, pooled_high) = found.interval, found.pooled_interval
    failed = [f"fold {fold.number}: {fold.failure}" for fold in found.folds if fold.failure]
    judged = "Every fold was verified by a fresh process."
    if failed:
        judged = f"Failed: {'; '.join(failed)}."
    figures = {
        f"mean accuracy; 95 % interval {low:.2%} to {high:.2%} (Student's t)": f"{found.mean:.2%}",
        f"of all documents; 95 % interval {pooled_low:.2%} to {pooled_high:.2%} (Wilson)": (
            f"{found.right / found.documents:.2%}"
        ),
        "folds": f"{len(found.folds)}",
        "documents": f"{found.documents:,}",
    }
    rows = [
        (
            f"fold {fold.number}",
            f"{fold.metrics.accuracy:.4f}",
            f"{fold.metrics.macro_f1:.4f}",
            f"{fold.metrics.documents:,}",
            code(fold.seal[:19]) + "…",
        )
        for fold in found.folds
    ]
    return render(
        "retort.evaluate",
        "folds.html",
        title=f"{found.recipe}: {len(found.folds)} folds",
        name=found.recipe,
        verdicts=[(judged, not failed)],
        figures=figures,
        picture=_picture(found),
        rows=rows,
    )


def _picture(found: CrossValidation) -> Markup:
    """Each fold with its own interval, and the mean of all with that of the mean."""
    with style():
        figure = new_figure(8.0, 1.2 + 0.34 * len(found.folds))
        axes = figure.add_subplot()
        low, high = found.interval
        axes.axvspan(low, high, color=ORANGE, alpha=0.18, linewidth=0)
        axes.axvline(found.mean, color=ORANGE, linewidth=1.6, label=f"mean {found.mean:.4f}")
        for fold in found.folds:
            axes.plot(fold.metrics.interval, [fold.number] * 2, color=BLUE, linewidth=1.6)
            axes.plot([fold.metrics.accuracy], [fold.number], "o", color=BLUE, markersize=7)
        axes.set_yticks(
            [fold.number for fold in found.folds], [f"fold {fold.number}" for fold in found.folds]
        )
        axes.set_ylim(max(fold.number for fold in found.folds) + 0.6, -0.6)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.1%}")
        axes.set_xlabel("accuracy, with 95 % intervals of each fold (line) and of the mean (band)")
        axes.grid(axis="x", alpha=0.15, color=INK)
        axes.tick_params(axis="y", length=0)
        figure.legend(frameon=False, loc="outside upper right")
        return svg(figure, "Accuracy of each fold with its interval, and their mean")
