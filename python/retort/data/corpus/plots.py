"""Pictures of a corpus."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from retort.core.pictures import BLUE, INK, ORANGE, RED, new_figure, style, svg
from retort.data.corpus.validation import LabelCounts, Lengths
from retort.data.files.decoding import printable


def lengths_picture(lengths: Lengths, unit: str) -> Markup:
    """Histogram of lengths, with the median and the longest twentieth; the axis follows the bins.

    Args:
        unit: what is counted, such as "words".
    """
    with style():
        figure = new_figure(8.0, 3.0)
        axes = figure.add_subplot()
        axes.stairs(lengths.counts, lengths.edges, fill=True, color=BLUE, alpha=0.75)
        if len(set(np.diff(lengths.edges).tolist())) > 1:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        for share, colour, name in (("0.5", ORANGE, "median"), ("0.95", RED, "95 % up to")):
            value = lengths.quantiles[share]
            axes.axvline(value, color=colour, linewidth=1.4, label=f"{name} {value:,}")
        axes.set_xlabel(f"{unit} in a document")
        axes.set_ylabel("documents")
        axes.grid(axis="y", alpha=0.15, color=INK)
        axes.legend(frameon=False)
        return svg(figure, f"How many documents have how many {unit}")


def labels_picture(labels: Sequence[LabelCounts]) -> Markup:
    """Documents of each label, to learn from and held out; the label with the most is on top."""
    ordered = sorted(labels, key=lambda one: (one.train + one.held_out, one.label))
    names = [printable(one.label).replace("$", r"\$") for one in ordered]
    with style():
        figure = new_figure(8.0, 1.0 + 0.34 * len(names))
        axes = figure.add_subplot()
        places = range(len(names))
        train = [one.train for one in ordered]
        held_out = [one.held_out for one in ordered]
        axes.barh(places, train, color=BLUE, label="to learn from")
        axes.barh(places, held_out, left=train, color=ORANGE, label="held out")
        axes.set_yticks(places, names)
        axes.set_xlabel("documents")
        axes.grid(axis="x", alpha=0.15, color=INK)
        axes.tick_params(axis="y", length=0)
        figure.legend(frameon=False, loc="outside upper right", ncols=2)
        return svg(figure, "Documents of each label")
