"""Reads Starlark files: their loads, the symbols that they export, and the calls in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from starlark.syntax import FileLocations, ast
from starlark.syntax import parse as parse_starlark

BUILD_NAMES = frozenset({"BUILD.bazel", "BUILD"})
STARLARK_NAMES = BUILD_NAMES | {"MODULE.bazel", "WORKSPACE", "WORKSPACE.bazel", "WORKSPACE.bzlmod"}


@dataclasses.dataclass(frozen=True)
class Source:
    """One parsed file. `path` is what messages show."""

    path: str
    text: str
    tree: ast.StarlarkFile

    def where(self, node: ast.Node) -> str:
        """`path:line`, counted from 1."""
        return f"{self.path}:{FileLocations(self.path, self.text).position(node.start).line}"


def parse(text: str, path: str) -> Source:
    """Raises `starlark.StarlarkSyntaxException`, whose message has the position."""
    return Source(path, text, parse_starlark(text, path))


def read(path: Path, shown: str | None = None) -> Source:
    """As `parse`, for a file that messages call `shown`."""
    return parse(path.read_text(encoding="utf-8"), shown or str(path))


def is_starlark(path: Path) -> bool:
    return path.suffix == ".bzl" or path.name in STARLARK_NAMES


def walk(node: object) -> Iterator[ast.Node]:
    """Every syntax node under `node`, itself first, in source order."""
    if isinstance(node, ast.Node):
        yield node
    if isinstance(node, list):
        for item in node:
            yield from walk(item)
    elif dataclasses.is_dataclass(node):
        for field in dataclasses.fields(node):
            value = getattr(node, field.name)
            if isinstance(value, list) or dataclasses.is_dataclass(value):
                yield from walk(value)


def calls(source: Source) -> Iterator[ast.CallExpression]:
    for node in walk(source.tree.statements):
        if isinstance(node, ast.CallExpression):
            yield node


def dotted(expression: ast.Expression) -> str:
    """`native.py_test` for a chain of names; empty for anything else."""
    if isinstance(expression, ast.Identifier):
        return expression.name
    if isinstance(expression, ast.DotExpression):
        left = dotted(expression.obj)
        return f"{left}.{expression.name.name}" if left else ""
    return ""


def keyword(call: ast.CallExpression, name: str) -> ast.Expression | None:
    for argument in call.args:
        if isinstance(argument, ast.KeywordArgument) and argument.name.name == name:
            return argument.value
    return None


def text_of(expression: ast.Expression | None) -> str | None:
    return expression.value if isinstance(expression, ast.StringLiteral) else None


def loads(source: Source) -> Iterator[tuple[ast.LoadStatement, str, list[str]]]:
    """Each load: its statement, its label, and the names it takes as the other file spells them."""
    for statement in source.tree.statements:
        if isinstance(statement, ast.LoadStatement):
            names = [binding.original.name for binding in statement.bindings]
            yield statement, statement.module.value, names


def loaded_names(source: Source) -> set[str]:
    """The names by which this file knows what it loads."""
    return {
        binding.local.name
        for statement in source.tree.statements
        if isinstance(statement, ast.LoadStatement)
        for binding in statement.bindings
    }


def exports(source: Source) -> list[str]:
    """The symbols that another file may load from this one: its own public global names."""
    names: set[str] = set()
    for statement in source.tree.statements:
        if isinstance(statement, ast.DefStatement):
            names.add(statement.name.name)
        elif isinstance(statement, ast.AssignmentStatement):
            names.update(
                node.name for node in walk(statement.lhs) if isinstance(node, ast.Identifier)
            )
    return sorted(name for name in names if not name.startswith("_"))


def targets(source: Source) -> list[str]:
    """The targets that a BUILD file declares at its top level under a literal name."""
    names: set[str] = set()
    for statement in source.tree.statements:
        if isinstance(statement, ast.ExpressionStatement) and isinstance(
            statement.expression, ast.CallExpression
        ):
            name = text_of(keyword(statement.expression, "name"))
            if name is not None:
                names.add(name)
    return sorted(names)


def strings(node: object) -> list[str]:
    """Every string literal under `node`."""
    return [found.value for found in walk(node) if isinstance(found, ast.StringLiteral)]


def keywords(call: ast.CallExpression) -> list[str]:
    """The names of the arguments given by name."""
    return [a.name.name for a in call.args if isinstance(a, ast.KeywordArgument)]


def string_dict(expression: ast.Expression | None) -> dict[str, str]:
    """A dict literal of strings."""
    if not isinstance(expression, ast.DictExpression):
        return {}
    pairs = [(text_of(entry.key), text_of(entry.value)) for entry in expression.entries]
    return {key: value for key, value in pairs if key is not None and value is not None}
