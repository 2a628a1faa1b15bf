"""What a target of this repository is made of, read from the BUILD files without Bazel.

Whoever builds by Dockerfile has no Bazel; the answer must be the same. So only what the BUILD files of `python/retort`
use is understood, and anything else is an error. A BUILD file is read as Python, of which Starlark's BUILD dialect is a
subset.
"""

import ast
import pathlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tools.oci.errors import ImageError

_RULES = frozenset({"py_binary", "py_library"})
_READ = frozenset({"data", "deps", "name", "srcs"})


@dataclass(frozen=True)
class Closure:
    """All that a target needs.

    Attributes:
        files: sources and data, relative to the root of the repository, sorted.
        made: labels of data that rules make, sorted.
        distributions: labels' names of what `@pypi` has, those that BUILD files name, sorted.
        archives: repositories of files from source archives, sorted.
    """

    files: tuple[pathlib.PurePosixPath, ...]
    made: tuple[str, ...]
    distributions: tuple[str, ...]
    archives: tuple[str, ...]


def closure(root: pathlib.Path, target: str) -> Closure:
    """Follows `deps` from a target, such as `//python/retort/serve:main`.

    Raises:
        ImageError: there is no such target, or its BUILD file says something that is not understood here.
    """
    packages: dict[str, dict[str, Mapping[str, Any]]] = {}
    files: set[pathlib.PurePosixPath] = set()
    made: set[str] = set()
    outside: dict[str, set[str]] = {"pypi": set(), "archive": set()}
    waiting, seen = [target], set()
    while waiting:
        label = waiting.pop()
        if label in seen:
            continue
        seen.add(label)
        package, name = _split(label)
        if package not in packages:
            packages[package] = _targets(root / package)
        if name not in packages[package]:
            raise ImageError(f"no target {label} in {package}/BUILD.bazel")
        attributes = packages[package][name]
        for path in (*attributes.get("srcs", ()), *attributes.get("data", ())):
            if path.startswith("//"):
                made.add(path)
            else:
                files.add(pathlib.PurePosixPath(package, path))
        for dep in attributes.get("deps", ()):
            repository, _, rest = dep.partition("//")
            if repository == "@pypi":
                outside["pypi"].add(rest)
            elif repository.startswith("@"):
                outside["archive"].add(repository[1:])
            else:
                waiting.append(f"//{package}{dep}" if dep.startswith(":") else dep)
    return Closure(
        tuple(sorted(files)),
        tuple(sorted(made)),
        tuple(sorted(outside["pypi"])),
        tuple(sorted(outside["archive"])),
    )


def _split(label: str) -> tuple[str, str]:
    """`//a/b:c` or `//a/b` as package and name."""
    package, _, name = label.removeprefix("//").partition(":")
    return package, name or package.rpartition("/")[2]


def _targets(folder: pathlib.Path) -> dict[str, Mapping[str, Any]]:
    """The attributes of a package's Python targets by name; those that a comprehension makes are left out."""
    build = folder / "BUILD.bazel"
    try:
        tree = ast.parse(build.read_text(encoding="utf-8"))
    except (OSError, SyntaxError) as error:
        raise ImageError(f"{build} cannot be read: {error}") from error
    calls = [
        statement.value
        for statement in tree.body
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
    ]
    targets: dict[str, Mapping[str, Any]] = {}
    for call in calls:
        if isinstance(call.func, ast.Name) and call.func.id in _RULES:
            attributes = {
                keyword.arg: _value(keyword.value, folder)
                for keyword in call.keywords
                if keyword.arg in _READ
            }
            targets[attributes["name"]] = attributes
    return targets


def _value(node: ast.expr, folder: pathlib.Path) -> Any:
    """A string, a list of strings, a glob, or a sum of these."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [*_value(node.left, folder), *_value(node.right, folder)]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "glob":
        excluded = [word.value for word in node.keywords if word.arg == "exclude"]
        chosen = set(_glob(folder, node.args[0]))
        return sorted(chosen.difference(*(_glob(folder, patterns) for patterns in excluded)))
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise ImageError(
            f"{folder}/BUILD.bazel:{node.lineno}: only lists, sums and globs are read here"
        ) from error


def _glob(folder: pathlib.Path, patterns: ast.expr) -> Iterator[str]:
    for pattern in ast.literal_eval(patterns):
        for path in folder.glob(pattern):
            yield path.relative_to(folder).as_posix()
