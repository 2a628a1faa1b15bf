"""Writes upstream.json: what the real modules offer, read from checkouts of them.

    python -m tests.tools.upstream.inventory rules_python@2.3.2=DIR ... > upstream.json

`MODULE@VERSION=DIR` takes DIR as that version; `MODULE@VERSION:READ=DIR` says that DIR is another
version, READ, the nearest one at hand. `bazelisk@VERSION=DIR` is a checkout of Bazelisk.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlark import EvalError

from tests.tools.upstream import behaviour, syntax
from tests.tools.upstream.evaluate import Recorded, World

# Packages that are not part of a module's interface.
_INNER_NAMES = """
benchmark distribution docs e2e examples gazelle impl internal private sphinxdocs test testdata
tests third_party tools unittest
"""
_INNER = frozenset(_INNER_NAMES.split())

_BAZELISK = "bazelisk"

# Rules that the public file wraps in a macro: where the rule itself is.
_RULE_BEHIND_MACRO = {
    ("rules_python", "//python:py_binary.bzl"): "//python/private:py_binary_rule.bzl",
    ("rules_python", "//python:py_library.bzl"): "//python/private:py_library_rule.bzl",
    ("rules_python", "//python:py_test.bzl"): "//python/private:py_test_rule.bzl",
}


@dataclass(frozen=True)
class Checkout:
    module: str
    version: str
    read_from: str
    root: Path

    @classmethod
    def parse(cls, argument: str) -> Checkout:
        names, _, root = argument.partition("=")
        module, _, versions = names.partition("@")
        version, _, read_from = versions.partition(":")
        if not (module and version and root):
            raise SystemExit(f"{argument}: want MODULE@VERSION=DIR or MODULE@VERSION:READ=DIR")
        if not (Path(root) / "MODULE.bazel").is_file():
            raise SystemExit(f"{root}: no MODULE.bazel there, so no checkout of {module}")
        return cls(module, version, read_from or version, Path(root))

    def files(self) -> Iterator[tuple[str, Path]]:
        """Every public Starlark file, as its package and path."""
        for path in sorted(self.root.rglob("*")):
            package = path.parent.relative_to(self.root)
            if syntax.is_starlark(path) and path.is_file() and not _INNER & set(package.parts):
                yield "" if package == Path() else str(package), path


def inventory(checkouts: Sequence[Checkout]) -> dict[str, Any]:
    modules = [checkout for checkout in checkouts if checkout.module != _BAZELISK]
    world = World({checkout.module: checkout.root for checkout in modules})
    found: dict[str, Any] = {
        "modules": {checkout.module: _module(checkout, world) for checkout in modules}
    }
    for checkout in checkouts:
        if checkout.module == "rules_python":
            facts = behaviour.of_rules_python(checkout.root)
            found["modules"]["rules_python"]["behaviour"] = facts
        elif checkout.module == _BAZELISK:
            found[_BAZELISK] = {
                "read_from": checkout.read_from,
                "variables": behaviour.of_bazelisk(checkout.root),
            }
    return found


def _module(checkout: Checkout, world: World) -> dict[str, Any]:
    exports: dict[str, list[str]] = {}
    targets: dict[str, list[str]] = {}
    attributes: dict[str, dict[str, list[str]]] = {}
    tags: dict[str, dict[str, dict[str, list[str]]]] = {}
    for package, path in checkout.files():
        source = syntax.read(path)
        if path.suffix == ".bzl":
            label = f"//{package}:{path.name}"
            exports[label] = syntax.exports(source)
            rules, extensions = _evaluated(world, checkout.module, label, exports[label])
            if rules:
                attributes[label] = rules
            if extensions:
                tags[label] = extensions
        elif path.name in syntax.BUILD_NAMES and (declared := syntax.targets(source)):
            targets[f"//{package}"] = declared
    return {
        "version": checkout.version,
        "read_from": checkout.read_from,
        "exports": exports,
        "targets": targets,
        "attributes": attributes,
        "tag_classes": tags,
    }


def _evaluated(
    world: World, module: str, label: str, names: Sequence[str]
) -> tuple[dict[str, list[str]], dict[str, dict[str, list[str]]]]:
    """The attributes of the rules, and of the tag classes of the extensions, in a file."""
    where = _RULE_BEHIND_MACRO.get((module, label), label)
    try:
        found = world.evaluate(module, where).globals
    except EvalError as error:
        print(f"@{module}{where}: attributes unknown: {error}", file=sys.stderr)
        return {}, {}
    values = {name: found[name] for name in names if isinstance(found.get(name), Recorded)}
    rules = {name: _attributes(value) for name, value in values.items() if value.name == "rule"}
    extensions = {
        name: {
            tag: tag_class.keys_of("attrs")
            for tag, tag_class in value.fields["tag_classes"].items()
        }
        for name, value in values.items()
        if value.name == "module_extension" and "tag_classes" in value.fields
    }
    return rules, extensions


def _attributes(rule: Recorded) -> list[str]:
    implied = ["build_setting_default"] if "build_setting" in rule.fields else []
    return sorted(rule.keys_of("attrs") + implied)


def main(arguments: Sequence[str]) -> None:
    if not arguments:
        raise SystemExit(__doc__)
    found = inventory([Checkout.parse(argument) for argument in arguments])
    sys.stdout.write(_one_line_lists(json.dumps(found, indent=1, sort_keys=True)) + "\n")


def _one_line_lists(text: str) -> str:
    return re.sub(
        r"\[\s+([^\[\]{}]*?)\s+\]", lambda m: "[" + re.sub(r"\s*,\s*", ", ", m[1]) + "]", text
    )


if __name__ == "__main__":
    main(sys.argv[1:])
