"""Pictures of where the time of a training run went, as SVG text."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from retort.core.pictures import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, RED, new_figure, style, svg

_COLOURS = {
    "compute": BLUE,
    "data": ORANGE,
    "communication": PURPLE,
    "checkpoint": RED,
    "evaluation": GREEN,
}


def shares_picture(shares: Mapping[str, float]) -> Markup:
    """One bar: what share of the time each kind of work took.

    Args:
        shares: by the kind of work, of 0 .. 1, in the order shown.
    """
    with style():
        figure = new_figure(8.0, 1.8)
        axes = figure.add_subplot()
        start = 0.0
        for name, share in shares.items():
            colour = _COLOURS.get(name, GREY)
            axes.barh([0], [share], left=start, color=colour, label=f"{name} {share:.1%}")
            start += share
        axes.set_xlim(0, max(1.0, start))
        axes.set_ylim(-0.5, 0.5)
        axes.set_yticks([])
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.spines[["left", "right"]].set_visible(False)
        figure.legend(frameon=False, loc="outside upper left", ncols=4, handlelength=1.0)
        return svg(figure, "Share of the time that each kind of work took")


def throughput_picture(steps: Sequence[int], rates: Sequence[float], unit: str) -> Markup:
    """Throughput over the optimiser steps.

    Args:
        steps, rates: of each record. unit: such as "samples a second".
    """
    with style():
        figure = new_figure(8.0, 2.8)
        axes = figure.add_subplot()
        axes.plot(steps, rates, color=BLUE, linewidth=1.8)
        axes.fill_between(steps, rates, color=BLUE, alpha=0.12)
        axes.set_xlim(0, max(steps))
        axes.set_ylim(bottom=0.0)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.4g}")
        axes.set_xlabel("optimiser step")
        axes.set_ylabel(unit)
        axes.grid(alpha=0.15, color=INK)
        return svg(figure, f"Throughput in {unit} over the optimiser steps")
