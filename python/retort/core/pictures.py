"""Pictures as SVG text: equal data give equal bytes, and the colours of the page apply.

matplotlib takes half a second of CPU to load, and who trains may draw nothing: it is loaded with the first picture.
"""

import io
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"
"""Stands for the page's text colour, which a picture cannot know; replaced in the SVG text."""
BLUE = "#2f6fde"
ORANGE = "#e08a1e"
RED = "#d64545"
GREEN = "#2f9e6e"
PURPLE = "#8a5cd6"
GREY = "#8a93a3"


def style() -> AbstractContextManager[None]:
    """How all pictures look, while they are made."""
    from matplotlib import rc_context

    return rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "retort",
            "font.family": "DejaVu Sans",
            "font.size": 10,
            "text.color": INK,
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.spines.top": False,
            "axes.linewidth": 0.6,
        }
    )


def new_figure(width: float, height: float) -> "Figure":
    """An empty picture, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def svg(figure: "Figure", title: str) -> Markup:
    """A picture as an element of HTML; `title` is for those who cannot see it."""
    target = io.StringIO()
    figure.savefig(target, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = target.getvalue()
    text = text[text.index("<svg") :]
    text = text.replace(INK, "currentColor").replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans'")
    return Markup(text.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1))
