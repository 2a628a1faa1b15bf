"""The size report as one HTML page: no script, no font or picture from elsewhere."""

from collections.abc import Iterable, Sequence
from html import escape

from tools.oci.report.markdown import human, label, share, signed
from tools.oci.report.size_changes import Budget, Change, Changes
from tools.oci.report.sizes import Sizes
from tools.oci.report.style import STYLE

_PACKAGES = 30
_CHANGES = 20
_THINNEST = 0.4
_COLOURS = (
    *("#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#e15759", "#76b7b2"),
    *("#edc948", "#9c755f", "#ff9da7", "#6b8fd6", "#8cb369", "#bab0ac"),
)


def page(sizes: Sizes, changes: Changes | None, limits: Sequence[Budget]) -> str:
    """The whole page."""
    sections = [
        _head(sizes, changes),
        _budgets(limits),
        _layers(sizes),
        _all_changes(changes),
        _packages(sizes),
        _files(sizes),
        _repeated(sizes),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Size of {escape(sizes.image)}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def _head(sizes: Sizes, changes: Changes | None) -> str:
    cards = [
        _card("uncompressed", human(sizes.size), signed(changes.size) if changes else ""),
        _card("as pushed", human(sizes.blob_size), signed(changes.blob_size) if changes else ""),
    ]
    if changes:
        layers = f"{len(changes.moved_layers)} of {len(sizes.layers)} layers"
        cards.append(_card("moved by a push", human(changes.moved), layers))
    cards.append(_card("layers", str(len(sizes.layers))))
    cards.append(_card("packages", str(len(sizes.packages))))
    cards.append(_card("files", f"{sizes.files:,}"))
    return (
        f"<header><p>Size of the image</p><h1>{escape(sizes.image)}</h1>"
        f"<code>{escape(sizes.digest)}</code></header>"
        f'<div class="cards">{"".join(cards)}</div>'
    )


def _card(what: str, value: str, more: str = "") -> str:
    small = f"<small>{escape(more)}</small>" if more else ""
    return f'<div class="card"><span>{what}</span><b>{escape(value)}</b>{small}</div>'


def _section(title: str, note: str, content: str) -> str:
    return f"<section><h2>{title}</h2><p>{note}</p>{content}</section>"


def _bar(parts: Sequence[tuple[float, str]]) -> str:
    """Bars from the left on top of each other: shares of the whole width, and fills. What is not nothing is seen."""
    drawn = "".join(
        f'<rect width="{max(100 * width, _THINNEST):.3f}" height="10" fill="{colour}"/>'
        for width, colour in parts
        if width
    )
    return (
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f"{drawn}</svg>"
    )


def _table(
    head: Sequence[str], kinds: Sequence[str], rows: Iterable[Sequence[str]], wide: str = ""
) -> str:
    """A table whose cells are HTML already.

    Args:
        kinds: class of each column: `name`, `chart`, `number` or `path`.
        wide: class of the table.
    """
    top = "".join(f'<th class="{kind}">{cell}</th>' for kind, cell in zip(kinds, head, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{kind}">{cell}</td>' for kind, cell in zip(kinds, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return f'<table class="{wide}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def _budgets(limits: Sequence[Budget]) -> str:
    if not limits:
        return ""
    cards = []
    for one in limits:
        part = min(1.0, one.measured / one.limit) if one.limit else 1.0
        colour, word = ("#2f8f4e", "OK") if one.kept else ("#c8372d", "over")
        cards.append(
            f'<div class="budget"><div><b>{escape(one.name)}</b>'
            f'<em style="background:{colour}">{word}</em></div>{_bar([(part, colour)])}'
            f"<small>{human(one.measured)} of {human(one.limit)} {one.unit}</small></div>"
        )
    return f'<div class="budgets">{"".join(cards)}</div>'


def _layers(sizes: Sizes) -> str:
    colours = [_COLOURS[number % len(_COLOURS)] for number in range(len(sizes.layers))]
    largest = max((max(one.size, one.blob_size) for one in sizes.layers), default=0) or 1
    rows = []
    for layer, colour in zip(sizes.layers, colours, strict=True):
        bars = [(layer.size / largest, f"{colour}55"), (layer.blob_size / largest, colour)]
        rows.append(
            (
                f'<i style="background:{colour}"></i><b>{escape(layer.name)}</b>'
                f"<code>{layer.digest[7:19]}</code>",
                _bar(bars),
                human(layer.size),
                human(layer.blob_size),
                share(layer.size, sizes.size),
                f"{layer.files:,}",
            )
        )
    head = ("layer", "", "size", "as pushed", "share", "files")
    kinds = ("name", "chart", *["number"] * 4)
    note = "From the lowest up. Pale: uncompressed; full: the blob, as a registry holds it."
    return _section("Layers", note, _whole(sizes, colours) + _table(head, kinds, rows))


def _whole(sizes: Sizes, colours: Sequence[str]) -> str:
    """The image as one bar, cut into its layers."""
    total, place, drawn = sizes.size or 1, 0.0, []
    for layer, colour in zip(sizes.layers, colours, strict=True):
        width = 100 * layer.size / total
        title = f"{escape(layer.name)}: {human(layer.size)}, {share(layer.size, sizes.size)}"
        drawn.append(
            f'<rect x="{place:.3f}" width="{width:.3f}" height="10" fill="{colour}">'
            f"<title>{title}</title></rect>"
        )
        place += width
    return (
        '<svg class="whole" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" '
        f'aria-label="Share of each layer">{"".join(drawn)}</svg>'
    )


def _all_changes(changes: Changes | None) -> str:
    if changes is None:
        return ""
    note = "What changed most comes first; sizes uncompressed."
    tables = [
        _change_table(what, found)
        for what, found in (("layer", changes.layers), ("package", changes.packages))
        if found
    ]
    content = "".join(tables) or '<p class="same">Every layer and package has the size it had.</p>'
    return _section("Against the previous image", note, content)


def _change_table(what: str, found: Sequence[Change]) -> str:
    largest = max(abs(one.difference) for one in found) or 1
    rows = [
        (
            f"<b>{escape(one.name)}</b><small>{one.kind}</small>",
            _bar([(abs(one.difference) / largest, "#d1603d" if one.difference > 0 else "#3d8f6b")]),
            "—" if one.before is None else human(one.before),
            "—" if one.after is None else human(one.after),
            signed(one.difference),
        )
        for one in found[:_CHANGES]
    ]
    if more := found[_CHANGES:]:
        rest = signed(sum(one.difference for one in more))
        rows.append((f"{len(more)} more", "", "", "", rest))
    kinds = ("name", "chart", "number", "number", "number")
    return _table((what, "", "before", "after", "difference"), kinds, rows)


def _packages(sizes: Sizes) -> str:
    largest = max((one.size for one in sizes.packages), default=0) or 1
    rows = [
        (
            f"<b>{escape(label(one))}</b><small>{escape(one.type)}</small>",
            _bar([(one.size / largest, "#4e79a7")]),
            human(one.size),
            share(one.size, sizes.size),
            f"{one.files:,}",
        )
        for one in sizes.packages[:_PACKAGES]
    ]
    if more := sizes.packages[_PACKAGES:]:
        size, files = sum(one.size for one in more), sum(one.files for one in more)
        rows.append(
            (f"{len(more)} more", "", human(size), share(size, sizes.size), f"{files:,}"),
        )
    head, kinds = ("package", "", "size", "share", "files"), ("name", "chart", *["number"] * 3)
    note = "Files alone, uncompressed, without the headers and padding of a layer."
    return _section("Packages", note, _table(head, kinds, rows)) if rows else ""


def _files(sizes: Sizes) -> str:
    rows = [
        (f"<code>{escape(one.path)}</code>", escape(one.layer), human(one.size))
        for one in sizes.largest_files
    ]
    table = _table(("file", "layer", "size"), ("path", "name", "number"), rows, "files")
    return _section("Largest files", "", table) if rows else ""


def _repeated(sizes: Sizes) -> str:
    rows = [
        (
            f"<b>{escape(one.name)}</b>",
            "<br>".join(f"<code>{escape(path)}</code>" for path in one.paths),
            human(one.size),
        )
        for one in sizes.repeated
    ]
    table = _table(("library", "places", "size of one"), ("name", "path", "number"), rows, "files")
    note = "The same name and the same size: probably the same library, more than once."
    return _section("Shared libraries at several places", note, table) if rows else ""
