"""The size report as one HTML page: no script, no font or picture from elsewhere."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from tools.oci.report.markdown import human, label, share, signed
from tools.oci.report.size_changes import Budget, Changes
from tools.oci.report.sizes import LayerSize, Sizes

_COLOURS = (
    *("#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#e15759", "#76b7b2"),
    *("#edc948", "#9c755f", "#ff9da7", "#6b8fd6", "#8cb369", "#bab0ac"),
)


@dataclass(frozen=True)
class _Layer:
    """A layer and its part of the bar that is the whole image, in per cent."""

    layer: LayerSize
    colour: str
    start: float
    width: float


def page(sizes: Sizes, changes: Changes | None, limits: Sequence[Budget]) -> str:
    """The whole page."""
    environment = Environment(
        loader=PackageLoader("tools.oci.report"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "human": human,
        "label": label,
        "share": share,
        "signed": signed,
        "thousands": "{:,}".format,
    }
    return environment.get_template("page.html").render(
        sizes=sizes,
        changes=changes,
        limits=limits,
        layers=list(_layers(sizes)),
        largest_layer=max((max(one.size, one.blob_size) for one in sizes.layers), default=0) or 1,
    )


def _layers(sizes: Sizes) -> Iterator[_Layer]:
    start = 0.0
    for number, layer in enumerate(sizes.layers):
        width = 100 * layer.size / (sizes.size or 1)
        yield _Layer(layer, _COLOURS[number % len(_COLOURS)], start, width)
        start += width
