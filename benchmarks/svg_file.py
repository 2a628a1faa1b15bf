"""Pictures as files that can be read on a light and on a dark page."""

from pathlib import Path

from matplotlib.figure import Figure

from retort.core.pictures import svg

_COLOURS = (
    "<style>svg{color:#57606a}" "@media(prefers-color-scheme:dark){svg{color:#b1bac4}}</style>"
)
"""A picture in a file of its own has no page whose text colour it could take."""


def write_svg(figure: Figure, title: str, file: Path) -> None:
    """Write a picture; `title` is for those who cannot see it."""
    start, end, rest = svg(figure, title).partition(">")
    file.write_text(f"{start}{end}{_COLOURS}{rest}", encoding="utf-8")
