"""Pictures of a classifier's answers, as SVG text."""

from collections.abc import Sequence

from markupsafe import Markup

from retort.core.pictures import BLUE, GREEN, INK, RED, new_figure, style, svg
from retort.evaluate.calibration import Bin

_DARK_CELL = 0.55
_ROOMY = 12
"""Labels up to which a cell of the confusion matrix has room for a share."""


def confusion_picture(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> Markup:
    """Counts and shares of each row (true label); right ones blue, wrong ones red."""
    from matplotlib.patches import Rectangle

    size = len(labels)
    roomy = size <= _ROOMY
    side = 1.4 + max(2.1, (0.72 if roomy else 0.5) * size)
    with style():
        figure = new_figure(side + 0.8, side)
        axes = figure.add_subplot()
        for row, counts in enumerate(confusion):
            for column, count in enumerate(counts):
                share = count / max(1, sum(counts))
                colour = BLUE if row == column else RED
                alpha = 0.15 + 0.85 * share
                if count == 0:
                    colour, alpha = INK, 0.04
                corner = (column - 0.48, row - 0.48)
                axes.add_patch(
                    Rectangle(corner, 0.96, 0.96, facecolor=colour, linewidth=0, alpha=alpha)
                )
                ink = "white" if alpha > _DARK_CELL else INK
                if not roomy:
                    if count:
                        axes.text(
                            column, row, f"{count}", ha="center", va="center", color=ink, size=8
                        )
                    continue
                axes.text(column, row, f"{count}", ha="center", va="bottom", color=ink, size=12)
                axes.text(
                    column, row + 0.06, f"{share:.1%}", ha="center", va="top", color=ink, size=8
                )
        names = [label.replace("$", r"\$") for label in labels]
        axes.set_xlim(-0.5, size - 0.5)
        axes.set_ylim(size - 0.5, -0.5)
        axes.set_xticks(range(size), names, rotation=30, ha="right")
        axes.set_yticks(range(size), names)
        axes.set_xlabel("predicted label")
        axes.set_ylabel("true label")
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return svg(figure, "Confusion matrix: counts and shares of each true label")


def reliability_picture(bins: Sequence[Bin]) -> Markup:
    """Accuracy of each bin of confidence beside the diagonal, and how many documents are in it."""
    filled = [one for one in bins if one.documents]
    with style():
        figure = new_figure(5.0, 4.8)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
        starts = [one.low for one in filled]
        widths = [one.high - one.low for one in filled]
        both = [min(one.accuracy, one.confidence) for one in filled]
        upper.bar(starts, both, widths, align="edge", color=BLUE, alpha=0.7)
        for name, colour, gaps in (
            ("more sure than right", RED, [one.confidence - one.accuracy for one in filled]),
            ("more right than sure", GREEN, [one.accuracy - one.confidence for one in filled]),
        ):
            heights = [max(0.0, gap) for gap in gaps]
            shown = {"facecolor": colour, "alpha": 0.35, "label": name}
            upper.bar(starts, heights, widths, bottom=both, align="edge", **shown)
        ends = [one.high for one in filled]
        upper.hlines([one.accuracy for one in filled], starts, ends, color=BLUE, linewidth=2.0)
        upper.plot((0, 1), (0, 1), color=INK, linewidth=1.0, linestyle="--", alpha=0.6)
        upper.set_xlim(0, 1)
        upper.set_ylim(0, 1)
        upper.set_ylabel("share of right answers")
        upper.grid(alpha=0.15, color=INK)
        upper.legend(frameon=False, loc="upper left")
        counts = [one.documents for one in filled]
        lower.bar(starts, counts, widths, align="edge", color=BLUE, alpha=0.45)
        lower.set_yscale("log")
        lower.set_ylim(bottom=0.7)
        lower.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else "")
        lower.yaxis.set_minor_formatter(lambda value, _: "")
        lower.set_ylabel("documents")
        lower.set_xlabel("confidence: probability of the predicted label")
        lower.grid(axis="y", alpha=0.15, color=INK)
        return svg(figure, "Reliability: share of right answers at each confidence")
