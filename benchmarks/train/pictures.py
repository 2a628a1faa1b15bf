"""A picture of the training comparison."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.svg_file import write_svg
from benchmarks.train.comparison import Comparison
from benchmarks.train.parts import CONTRACT
from retort.core.pictures import BLUE, INK, ORANGE, style

_FAINT = 0.15


def write_speeds(comparisons: Mapping[str, Comparison], file: Path) -> None:
    """Samples a second of every side, the fastest on top; ours are blue.

    Args:
        comparisons: by their titles.
    """
    rows = [len(one.runs) for one in comparisons.values()]
    with style():
        figure = Figure(figsize=(8.0, 1.0 + 0.55 * len(rows) + 0.32 * sum(rows)))
        figure.set_layout_engine("constrained")
        axes_of_all = figure.subplots(len(rows), squeeze=False, height_ratios=rows)[:, 0]
        for (title, comparison), axes in zip(comparisons.items(), axes_of_all, strict=True):
            names = sorted(comparison.runs, key=comparison.rate)
            rates = [comparison.rate(name) for name in names]
            colours = [BLUE if name.startswith(CONTRACT) else ORANGE for name in names]
            bars = axes.barh(names, rates, color=colours)
            axes.bar_label(bars, [f"{rate:.3g}" for rate in rates], padding=4)
            axes.set_title(title, loc="left")
            axes.margins(x=0.12)
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="x", alpha=_FAINT, color=INK)
        axes.set_xlabel("samples a second")
        write_svg(figure, "Training speed of retort and of other ways to train", file)
