"""Pictures as SVG text: equal data give equal bytes, and the colours of the page apply."""

import io
from contextlib import AbstractContextManager

from markupsafe import Markup
from matplotlib import rc_context
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


def svg(figure: Figure, title: str) -> Markup:
    """A picture as an element of HTML; `title` is for those who cannot see it."""
    target = io.StringIO()
    figure.savefig(target, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = target.getvalue()
    text = text[text.index("<svg") :]
    text = text.replace(INK, "currentColor").replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans'")
    return Markup(text.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1))
