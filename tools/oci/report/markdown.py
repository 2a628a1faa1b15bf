"""The size report as Markdown, short enough for a comment on a pull request."""

import html
from collections.abc import Iterable, Sequence

from tools.oci.report.size_changes import Budget, Change, Changes
from tools.oci.report.sizes import PackageSize, Sizes

_BAR = 16
_PACKAGES = 20
_CHANGES = 15
_UNITS = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


def human(size: int) -> str:
    """Bytes in decimal units and three digits: `1.23 GB`, `45.6 MB`, `812 kB`, `7 B`."""
    for unit, scale in _UNITS:
        if abs(size) >= scale:
            value = size / scale
            digits = max(0, 2 - (len(str(int(abs(value)))) - 1))
            return f"{value:.{digits}f} {unit}"
    return f"{size} B"


def signed(size: int) -> str:
    """A difference, with its sign."""
    sign = "+" if size > 0 else "\u2212" if size < 0 else "±"
    return f"{sign}{human(abs(size))}"


def share(part: int, whole: int) -> str:
    """A part in per cent."""
    return f"{100 * part / whole:.1f} %" if whole else "—"


def label(package: PackageSize) -> str:
    """A package with its version, as far as that is known."""
    return f"{package.name} {package.version}".strip()


def markdown(sizes: Sizes, changes: Changes | None, limits: Sequence[Budget]) -> str:
    """The whole report."""
    total = f"**{human(sizes.size)}** uncompressed, **{human(sizes.blob_size)}** as pushed"
    parts = [
        f"### Image {_code(sizes.image)}",
        f"{total}; {len(sizes.layers)} layers, {sizes.files:,} files. `{sizes.digest}`",
        *_changes(changes),
        *_budgets(limits),
        _layers(sizes),
        *_packages(sizes),
        *_files(sizes),
        *_repeated(sizes),
    ]
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], right: int, rows: Iterable[Sequence[str]]) -> str:
    """A table; the columns from number `right` on are aligned to the right."""
    rule = ["---" if column < right else "---:" for column in range(len(head))]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
        for row in (head, rule, *rows)
    )


def _text(text: str) -> str:
    """A name from the image as text: neither HTML nor a second line."""
    return " ".join(html.escape(text, quote=False).replace("`", "&#96;").split())


def _code(text: str) -> str:
    return f"`{' '.join(text.replace('`', '').split())}`"


def _folded(summary: str, content: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{content}\n\n</details>"


def _bar(part: int, largest: int) -> str:
    return "█" * max(1 if part else 0, round(_BAR * part / largest)) if largest else ""


def _layers(sizes: Sizes) -> str:
    largest = max((layer.size for layer in sizes.layers), default=0)
    return _table(
        ("layer", "", "digest", "size", "as pushed", "share", "files"),
        3,
        (
            (
                _text(layer.name),
                _bar(layer.size, largest),
                _code(layer.digest[7:19]),
                human(layer.size),
                human(layer.blob_size),
                share(layer.size, sizes.size),
                f"{layer.files:,}",
            )
            for layer in sizes.layers
        ),
    )


def _packages(sizes: Sizes) -> Iterable[str]:
    shown, rest = sizes.packages[:_PACKAGES], sizes.packages[_PACKAGES:]
    if not shown:
        return
    rows = [
        (
            _text(label(one)),
            one.type,
            human(one.size),
            share(one.size, sizes.size),
            f"{one.files:,}",
        )
        for one in shown
    ]
    if rest:
        size, files = sum(one.size for one in rest), sum(one.files for one in rest)
        name = f"{len(rest)} more"
        rows.append((name, "", human(size), share(size, sizes.size), f"{files:,}"))
    table = _table(("package", "kind", "size", "share", "files"), 2, rows)
    yield _folded(f"Packages ({len(sizes.packages)})", table)


def _files(sizes: Sizes) -> Iterable[str]:
    if sizes.largest_files:
        rows = [(_code(one.path), _text(one.layer), human(one.size)) for one in sizes.largest_files]
        yield _folded("Largest files", _table(("file", "layer", "size"), 2, rows))


def _repeated(sizes: Sizes) -> Iterable[str]:
    if sizes.repeated:
        rows = [
            (_code(one.name), "<br>".join(map(_code, one.paths)), human(one.size))
            for one in sizes.repeated
        ]
        table = _table(("library", "places", "size of one"), 2, rows)
        yield _folded(f"⚠️ Shared libraries at several places ({len(rows)})", table)


def _budgets(limits: Sequence[Budget]) -> Iterable[str]:
    if limits:
        rows = [
            (
                f"{'✅' if one.kept else '❌'} {_text(one.name)}",
                one.unit,
                human(one.measured),
                human(one.limit),
                "OK" if one.kept else f"over by {human(one.measured - one.limit)}",
            )
            for one in limits
        ]
        yield _table(("budget", "counted", "measured", "limit", ""), 2, rows)


def _changes(changes: Changes | None) -> Iterable[str]:
    if changes is None:
        return
    moved = "nothing"
    if changes.moved_layers:
        moved = f"{human(changes.moved)} ({', '.join(map(_text, changes.moved_layers))})"
    yield (
        f"Against the previous image: **{signed(changes.size)}** uncompressed, "
        f"**{signed(changes.blob_size)}** as pushed; a push moves **{moved}**."
    )
    for what, found in (("layer", changes.layers), ("package", changes.packages)):
        if found:
            yield _change_table(what, found)


def _change_table(what: str, found: Sequence[Change]) -> str:
    rows = [
        (
            _text(one.name),
            one.kind,
            "—" if one.before is None else human(one.before),
            "—" if one.after is None else human(one.after),
            signed(one.difference),
        )
        for one in found[:_CHANGES]
    ]
    if more := found[_CHANGES:]:
        rows.append((f"{len(more)} more", "", "", "", signed(sum(one.difference for one in more))))
    return _table((f"changed {what}", "", "before", "after", "difference"), 2, rows)
