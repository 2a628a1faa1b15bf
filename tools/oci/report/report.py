"""The size report of an image: how large, by which layers, packages and files, and what changed.

Markdown on standard output, for a comment on a pull request; a page and JSON as files. The JSON of one image is what
the next is compared with.
"""

import argparse
import json
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal

from tools.oci import errors, paths
from tools.oci.errors import ImageError
from tools.oci.image import contents as contents_file
from tools.oci.image.layout import Layout, canonical_json
from tools.oci.report.markdown import markdown
from tools.oci.report.page import page
from tools.oci.report.size_changes import APP_BUDGET, budgets, compare
from tools.oci.report.sizes import measure, read_sizes

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|MB|GB)?")
_SCALES = {None: 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_KEY = re.compile(r"(pypi|deb):.+")


def bytes_of(text: str) -> int:
    """`900MB`, `1.5 GB` or a number of bytes, in decimal units."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: 900MB, 1.5GB or bytes")
    return int(Decimal(found[1]) * _SCALES[found[2]])


def read_packages(path: pathlib.Path) -> Mapping[str, list[str]]:
    """Reads `NAME.packages.json`: `pypi:NAME` or `deb:NAME` to the absolute paths of the package's files.

    Raises:
        ImageError: it cannot be read, or is something else.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: {error}") from error
    if not isinstance(content, dict) or not all(
        _KEY.fullmatch(key)
        and isinstance(paths, list)
        and all(isinstance(path, str) and path.startswith("/") for path in paths)
        for key, paths in content.items()
    ):
        raise ImageError(f'{path}: not {{"deb:NAME": ["/path", …], …}}')
    return content


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="report", allow_abbrev=False)
    parser.add_argument("--layout", required=True, type=paths.given)
    parser.add_argument("--contents", type=paths.given, help="the image's contents file")
    parser.add_argument("--packages", type=paths.given, help="which files are which package's")
    parser.add_argument("--against", type=paths.given, metavar="OLD.json")
    parser.add_argument("--html", type=paths.given, metavar="FILE")
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write JSON; without FILE, to standard output in place of Markdown",
    )
    parser.add_argument("--budget-total", type=bytes_of, metavar="SIZE", help="uncompressed")
    parser.add_argument("--budget-layer", type=bytes_of, metavar="SIZE", help="uncompressed")
    parser.add_argument(
        "--budget-app",
        type=bytes_of,
        metavar="SIZE",
        default=APP_BUDGET,
        help="what a change of our code moves",
    )
    parser.add_argument(
        "--enforce", action="store_true", help="exit code 1 if a budget is not kept"
    )
    return parser


def _write(path: pathlib.Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures one image.

    Raises:
        ImageError: the image, or a file to read with it, is not what it should be; a file cannot be written.
    """
    options = _arguments().parse_args(arguments)
    old = read_sizes(options.against) if options.against else None
    contents = None
    if options.contents:
        contents = contents_file.parse(contents_file.document(options.contents))
    packages = read_packages(options.packages) if options.packages else {}
    sizes = measure(Layout.open(options.layout), contents, packages)
    changes = compare(old, sizes) if old else None
    limits = budgets(sizes, options.budget_total, options.budget_layer, options.budget_app)
    if options.html:
        _write(options.html, page(sizes, changes, limits).encode())
    written = canonical_json(sizes.to_json())
    if options.json == "-":
        print(written.decode())
    else:
        print(markdown(sizes, changes, limits), end="")
        if options.json:
            _write(paths.given(options.json), written)
    over = [limit.name for limit in limits if not limit.kept]
    if over and options.enforce:
        sys.exit(f"over budget: {', '.join(over)}")


if __name__ == "__main__":
    errors.run(main)
