"""Pictures of a training run over its steps, as SVG text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from retort.core.pictures import BLUE, GREEN, INK, ORANGE, RED, new_figure, style, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def training_curve(
    losses: Sequence[float], rates: Sequence[float], norms: Sequence[float]
) -> Markup:
    """Loss of each step and its running mean with the learning rate, above the gradient's norm.

    Args:
        losses, rates, norms: one of each optimiser step.
    """
    steps = range(1, len(losses) + 1)
    with style():
        figure = new_figure(8.0, 5.2)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
        upper.plot(steps, losses, color=BLUE, alpha=0.3, linewidth=1.0)
        upper.plot(steps, running_mean(losses), color=BLUE, linewidth=2.0)
        upper.set_ylabel("loss (running mean in bold)", color=BLUE)
        upper.set_xlim(1, max(2, len(losses)))
        upper.set_ylim(bottom=0.0)
        upper.grid(alpha=0.15, color=INK)
        right = upper.twinx()
        right.plot(steps, rates, color=ORANGE, linewidth=1.2, linestyle="--")
        right.set_ylabel("learning rate (dashed)", color=ORANGE)
        right.set_ylim(bottom=0.0)
        right.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        lower.plot(steps, norms, color=GREEN, alpha=0.35, linewidth=1.0)
        lower.plot(steps, running_mean(norms), color=GREEN, linewidth=1.6)
        lower.set_yscale("log")
        for axis in (lower.yaxis.set_major_formatter, lower.yaxis.set_minor_formatter):
            axis(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "125" else "")
        lower.set_ylabel("gradient norm", color=GREEN)
        lower.set_xlabel("optimiser step")
        lower.grid(alpha=0.15, color=INK)
        figure.align_ylabels()
        return svg(figure, "Loss, learning rate and gradient norm of each optimiser step")


def evaluations_picture(
    steps: Sequence[int],
    losses: Sequence[float],
    shares: Sequence[float] | None,
    best: int | None,
) -> Markup:
    """What was measured on held-out documents as training went on, the best step marked.

    Args:
        steps, losses: of each evaluation.
        shares: accuracy at each; None for a language model.
        best: one of `steps`.
    """
    with style():
        figure = new_figure(8.0, 3.2)
        left = figure.add_subplot()
        left.set_xlabel("optimiser step")
        left.grid(alpha=0.15, color=INK)
        right = left
        if shares is not None:
            _curve(left, steps, shares, BLUE, "accuracy, held out")
            left.yaxis.set_major_formatter(lambda value, _: f"{value:.4g}")
            right = left.twinx()
        _curve(right, steps, losses, ORANGE, "loss, held out")
        if best is not None:
            curve = losses if shares is None else shares
            place = steps.index(best)
            left.axvline(best, color=RED, linewidth=1.0, linestyle=":")
            left.plot([best], [curve[place]], "o", color=RED, markersize=8, zorder=5, clip_on=False)
            where = best / max(steps)
            # Above the frame, where no curve is.
            left.annotate(
                f"best: step {best:,}, {curve[place]:.4g}",
                (best, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 4),
                textcoords="offset points",
                ha="left" if where < 0.2 else "right" if where > 0.8 else "center",
                color=RED,
                annotation_clip=False,
            )
        left.set_xlim(0, max(steps) * 1.02)
        return svg(figure, "Evaluations on held-out documents over the optimiser steps")


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


def _curve(
    axes: "Axes", steps: Sequence[int], values: Sequence[float], colour: str, name: str
) -> None:
    axes.plot(steps, values, color=colour, linewidth=1.8, marker="o", markersize=4)
    axes.set_ylabel(name, color=colour)
    axes.margins(y=0.15)
