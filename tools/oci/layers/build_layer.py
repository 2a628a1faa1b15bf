"""Writes one layer; the rules of defs.bzl run this. Arguments may stand in a file, one a line, named by `@FILE`."""

import argparse
import json
import pathlib
from collections.abc import Sequence

from tools.oci import errors
from tools.oci.errors import ImageError
from tools.oci.layers import faults, layer
from tools.oci.layers.bytecode import compiled, scratch_folder
from tools.oci.layers.layer import Tree
from tools.oci.layers.python_files import import_roots, normalised, site_packages, sources


def _pair(text: str) -> tuple[str, str]:
    left, separator, right = text.partition("\t")
    if not separator:
        raise argparse.ArgumentTypeError(f"no tab in {text!r}")
    return left, right


def _runfile(text: str) -> tuple[str, pathlib.Path]:
    """`PATH<tab>SHORT_PATH` of Bazel: the runfiles path, and the file."""
    path, short = _pair(text)
    return short.removeprefix("../") if short.startswith("../") else f"_main/{short}", pathlib.Path(
        path
    )


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(fromfile_prefix_chars="@", allow_abbrev=False)
    parser.add_argument("--name", required=True)
    parser.add_argument("--tar", required=True, type=pathlib.Path)
    parser.add_argument("--index", required=True, type=pathlib.Path)
    parser.add_argument("--plant", default="none", choices=faults.LAYER_FAULTS)
    parser.add_argument("--interpreter", type=pathlib.Path, help="compiles every .py file")
    parser.add_argument("--file", action="append", default=[], type=_pair, help="SOURCE<tab>PATH")
    parser.add_argument(
        "--symlink", action="append", default=[], type=_pair, help="PATH<tab>TARGET"
    )
    parser.add_argument(
        "--directory", action="append", default=[], type=_pair, help="PATH<tab>MODE"
    )
    parser.add_argument("--runfile", action="append", default=[], type=_runfile)
    parser.add_argument("--import", action="append", default=[], dest="imports")
    parser.add_argument("--main-repository", default="_main")
    parser.add_argument("--site-packages", default="")
    parser.add_argument("--only", action="append", default=[], type=normalised)
    parser.add_argument("--without", action="append", default=[], type=normalised)
    parser.add_argument("--above", action="append", default=[], type=pathlib.Path)
    parser.add_argument("--left-out", type=pathlib.Path, help="a list of directories")
    parser.add_argument("--sources", action="store_true", help="also what is no distribution")
    return parser


def _files(options: argparse.Namespace) -> Tree:
    tree = Tree()
    for source, path in options.file:
        found = pathlib.Path(source)
        if found.is_dir():
            tree.entries.extend(
                layer.copied(f"{path}/{below.relative_to(found).as_posix()}", below)
                for below in found.rglob("*")
                if below.is_file()
            )
        else:
            tree.entries.append(layer.copied(path, found))
    tree.entries.extend(layer.symlink(path, target) for path, target in options.symlink)
    tree.entries.extend(layer.directory(path, int(mode, 8)) for path, mode in options.directory)
    return tree


def _python(options: argparse.Namespace) -> Tree:
    # Import roots name the main repository as the workspace does, files do not.
    main = options.main_repository
    imports = [
        "_main" + root.removeprefix(main) if root == main or root.startswith(f"{main}/") else root
        for root in options.imports
    ]
    roots = import_roots(dict(options.runfile), imports)
    for runfile, _ in options.runfile:
        path = pathlib.PurePosixPath(runfile)
        below = any(str(parent) in roots for parent in path.parents)
        if path.parts[0] == "_main" and path.suffix == ".py" and not below:
            raise ImageError(
                f"{path.relative_to('_main')} cannot be imported in the image: "
                'give its py_library `imports`, as imports = ["."]'
            )
    held = {
        package["name"]
        for index in options.above
        for package in json.loads(index.read_bytes())["packages"]
    }
    tree = site_packages(
        roots,
        options.site_packages,
        frozenset(options.only),
        frozenset(options.without) | held,
        options.left_out.read_text(encoding="utf-8") if options.left_out else "",
    )
    if options.sources:
        tree.entries.extend(sources(roots, options.site_packages))
    return tree


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the layer and its index.

    Raises:
        ImageError: the layer cannot be.
    """
    options = _arguments().parse_args(arguments)
    files, python = _files(options), _python(options)
    entries = [*files.entries, *python.entries]
    with scratch_folder() as scratch:
        if options.interpreter:
            entries += compiled(entries, options.interpreter, pathlib.Path(scratch))
        canonical = faults.planted(layer.canonical(entries), options.plant)
        tree = Tree(canonical, python.packages)
        layer.write_layer(options.name, tree, options.tar, options.index)


if __name__ == "__main__":
    errors.run(main)
