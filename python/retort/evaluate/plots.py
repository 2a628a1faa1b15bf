"""Pictures of a report as SVG text: equal data give equal bytes, and the page's colours apply."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from retort.core.pictures import BLUE, INK, ORANGE, RED, style, svg

_DARK_CELL = 0.55


def loss_curve(losses: Sequence[float], rates: Sequence[float]) -> str:
    """Loss of each step and its running mean, with the learning rate on a second axis."""
    steps = range(1, len(losses) + 1)
    with style():
        figure = Figure(figsize=(8.0, 3.6), layout="constrained")
        loss_axes = figure.add_subplot()
        loss_axes.plot(steps, losses, color=BLUE, alpha=0.3, linewidth=1.0)
        loss_axes.plot(steps, running_mean(losses), color=BLUE, linewidth=2.0)
        loss_axes.set_xlabel("optimiser step")
        loss_axes.set_ylabel("loss (running mean in bold)", color=BLUE)
        loss_axes.set_xlim(1, max(2, len(losses)))
        loss_axes.set_ylim(bottom=0.0)
        loss_axes.grid(alpha=0.15, color=INK)
        rate_axes = loss_axes.twinx()
        rate_axes.plot(steps, rates, color=ORANGE, linewidth=1.2, linestyle="--")
        rate_axes.set_ylabel("learning rate (dashed)", color=ORANGE)
        rate_axes.set_ylim(bottom=0.0)
        rate_axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        return svg(figure, "Loss and learning rate of each optimiser step")


def confusion_picture(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> str:
    """Counts and shares of each row (true label); right ones blue, wrong ones red."""
    size = len(labels)
    side = max(3.6, 1.5 + 0.95 * size)
    with style():
        figure = Figure(figsize=(side + 0.8, side), layout="constrained")
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
                axes.text(column, row, f"{count}", ha="center", va="bottom", color=ink, size=12)
                axes.text(
                    column, row + 0.06, f"{share:.1%}", ha="center", va="top", color=ink, size=8
                )
        axes.set_xlim(-0.5, size - 0.5)
        axes.set_ylim(size - 0.5, -0.5)
        axes.set_xticks(range(size), labels, rotation=30, ha="right")
        axes.set_yticks(range(size), labels)
        axes.set_xlabel("predicted label")
        axes.set_ylabel("true label")
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return svg(figure, "Confusion matrix: counts and shares of each true label")


def running_mean(values: Sequence[float]) -> list[float]:
    """Exponential mean of about a twentieth of the run, corrected for its start."""
    keep = 1 - 1 / max(1.0, len(values) / 20)
    mean = weight = 0.0
    result = []
    for value in values:
        mean = keep * mean + (1 - keep) * value
        weight = keep * weight + (1 - keep)
        result.append(mean / weight)
    return result
