"""Pictures of the comparison, as files that can be read on a light and on a dark page."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from benchmarks.data.comparison import Comparison
from benchmarks.data.growth import Point
from benchmarks.data.tokenizers import Kind
from benchmarks.data.tools import OURS
from benchmarks.svg_file import write_svg
from retort.core.pictures import BLUE, INK, ORANGE, RED, style

_FAINT = 0.15


def write_tools(comparisons: Sequence[Comparison], file: Path) -> None:
    """Megabytes of text a second of every tool, the fastest on top; ours are blue."""
    rows = [len(one.runs) for one in comparisons]
    with style():
        figure = Figure(figsize=(8.0, 1.1 + 0.32 * sum(rows)), layout="constrained")
        for comparison, axes in zip(
            comparisons,
            figure.subplots(len(rows), squeeze=False, height_ratios=rows)[:, 0],
            strict=True,
        ):
            names = sorted(comparison.runs, key=comparison.rate)
            rates = [comparison.rate(name) for name in names]
            colours = [BLUE if name.startswith(OURS.name) else ORANGE for name in names]
            bars = axes.barh(names, rates, color=colours)
            axes.bar_label(bars, [f"{rate:.3g}" for rate in rates], padding=4)
            axes.set_title(comparison.kind, loc="left")
            axes.margins(x=0.12)
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="x", alpha=_FAINT, color=INK)
        axes.set_xlabel("MB of text a second")
        write_svg(figure, "How fast each tool turns text into tokens on disk", file)


def write_growth(
    points: Mapping[tuple[str, Kind], Sequence[Point]], limit: int, file: Path
) -> None:
    """Seconds and memory against the size of the corpus.

    Args:
        limit: of memory, in MB.
    """
    with style():
        figure = Figure(figsize=(8.0, 3.6), layout="constrained")
        time, memory = figure.subplots(1, 2)
        for (tool, kind), line in points.items():
            sizes = [point.text_bytes / 1e6 for point in line]
            look = {
                "color": BLUE if tool == OURS.name else ORANGE,
                "linestyle": "-" if kind == "BPE" else "--",
                "marker": "o",
                "markersize": 3.5,
                "label": f"{tool}, {kind}",
            }
            time.plot(sizes, [point.usage.seconds for point in line], **look)
            memory.plot(sizes, [point.usage.memory / 1e6 for point in line], **look)
        memory.axhline(limit, color=RED, linewidth=1.0)
        memory.annotate(
            f"limit {limit} MB",
            (0.02, limit),
            xycoords=("axes fraction", "data"),
            va="bottom",
            color=RED,
        )
        time.set_yscale("log")
        time.yaxis.set_major_formatter(_plain)
        time.yaxis.set_minor_formatter(NullFormatter())
        time.set_ylabel("seconds")
        memory.set_ylabel("MB of memory")
        memory.set_ylim(0, 1.1 * max(limit, memory.get_ylim()[1]))
        for axes in (time, memory):
            _logarithmic_sizes(axes)
        handles, labels = time.get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, loc="outside upper left", ncols=2)
        write_svg(figure, "Time and memory against the size of the corpus", file)


def _logarithmic_sizes(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(_plain)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("MB of text in the corpus")
    axes.grid(alpha=_FAINT, color=INK)


def _plain(value: float, _: float) -> str:
    return f"{value:,.10g}"
