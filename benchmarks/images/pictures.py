"""A picture of the comparison of images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.images.result import OURS, Times
from benchmarks.images.sides import Layer
from benchmarks.svg_file import write_svg
from retort.core.pictures import BLUE, INK, ORANGE, style

_FAINT = 0.15


def write_picture(times: Mapping[str, Times], layers: Sequence[Layer], file: Path) -> None:
    """Seconds of every round of each comparison, and the sizes of our layers.

    Args:
        times: by the comparisons' titles.
        layers: of our image, the lowest first; none for no such part.
    """
    heights = [len(sides) for sides in times.values()] + [len(layers)] * bool(layers)
    with style():
        figure = Figure(figsize=(8.0, 1.0 + 0.6 * len(heights) + 0.34 * sum(heights)))
        figure.set_layout_engine("constrained")
        axes_of_all = figure.subplots(len(heights), squeeze=False, height_ratios=heights)[:, 0]
        for (title, sides), axes in zip(times.items(), axes_of_all, strict=False):
            for name, values in sides.items():
                colour = BLUE if name == OURS else ORANGE
                axes.scatter(values, [name] * len(values), color=colour, s=28, alpha=0.8)
            axes.set_xlim(left=0)
            axes.set_title(f"{title}, seconds", loc="left")
        if layers:
            axes = axes_of_all[-1]
            names = [layer.name for layer in reversed(layers)]
            sizes = [layer.size / 1e6 for layer in reversed(layers)]
            bars = axes.barh(range(len(names)), sizes, color=BLUE)
            axes.set_yticks(range(len(names)), names)
            axes.bar_label(bars, [f"{size:.3g}" for size in sizes], padding=4)
            axes.set_title("Layers of the rules' image, MB", loc="left")
        for axes in axes_of_all:
            axes.margins(x=0.12, y=0.3)
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="x", alpha=_FAINT, color=INK)
        write_svg(
            figure, "Time to build an image by the rules and by buildah, and its layers", file
        )
