"""What rules_python does that no signature says, read from its rules and templates.

Each fact is one that files here rely on. A source that no longer says it ends the inventory, loudly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from starlark.syntax import ast

from tests.tools.upstream import syntax

_EXTRACT = "python/private/pypi/whl_extract.bzl"
_PATCH_AND_EXTRACT = "python/private/pypi/patch_and_extract_whl.bzl"
_STAGE1 = "python/private/stage1_bootstrap_template.sh"


def of_rules_python(root: Path) -> dict[str, Any]:
    """Facts about a checkout of rules_python.

    - `wheel_schemes`: where the folders of a wheel's `NAME.data` (PEP 427) go, relative to the wheel's repository.
    - `written_into_dist_info`, `written_beside`: files that unpacking adds to the metadata, and to the repository.
    - `inits_unless`: the attribute without which an `__init__.py` is made in directories that have none.
    - `interpreter_command`: the words of the command that starts the interpreter, as the script bootstrap has them.
    - `interpreter_flags`, `interpreter_variables`: what that bootstrap itself tells Python.
    - `pyvenv_cfg`: the content of that file in a program's environment.
    - `reads_variables`: what repository rules and module extensions ask of the environment. An engine keys on them.
    - `pip_is_reproducible`: whether MODULE.bazel.lock leaves out the repositories that pip's extension makes.
    """
    stage1 = _text(root, _STAGE1)
    arguments = _one(r"^command=\(\n(.*?)^\)", stage1, re.DOTALL | re.MULTILINE)
    return {
        "wheel_schemes": _wheel_schemes(root),
        "written_into_dist_info": sorted(
            set(
                re.findall(
                    r'rctx\.file\(\s*dist_info_dir\.get_child\("(\w+)"\)', _text(root, _EXTRACT)
                )
            )
        ),
        "written_beside": sorted(
            set(re.findall(r'rctx\.file\("([\w.]+)"', _text(root, _PATCH_AND_EXTRACT)))
        ),
        "inits_unless": _one(
            r"if not (\w+):\s+generated_namespace_package_files = ",
            _text(root, "python/private/pypi/whl_library_targets.bzl"),
        ),
        "interpreter_command": re.findall(r'"([^"]+)"', arguments),
        "interpreter_flags": re.findall(r'interpreter_args\+=\("(-[^"]*)"\)', stage1),
        "interpreter_variables": re.findall(r'interpreter_env\+=\("(\w+)=', stage1),
        "pyvenv_cfg": _one(
            r'ctx\.actions\.write\(pyvenv_cfg, "([^"]*)"\)',
            _text(root, "python/private/py_executable.bzl"),
        ),
        "reads_variables": sorted(set(_variables(root))),
        "pip_is_reproducible": "reproducible = True"
        in _text(root, "python/private/pypi/extension.bzl"),
    }


def of_bazelisk(root: Path) -> list[str]:
    """The variables that say which engine Bazelisk starts, and where it fetches it from and keeps it."""
    found: set[str] = set()
    for source in sorted(root.glob("**/*.go")):
        if not source.name.endswith("_test.go"):
            text = source.read_text("utf-8")
            found.update(re.findall(r'"((?:BAZELISK_|USE_BAZEL)\w*)"', text))
    return sorted(found)


def _text(root: Path, path: str) -> str:
    return (root / path).read_text(encoding="utf-8")


def _one(pattern: str, text: str, flags: int = 0) -> str:
    found: Sequence[str] = re.findall(pattern, text, flags)
    if len(found) != 1:
        raise SystemExit(f"{pattern!r} is found {len(found)} times, not once")
    return found[0]


def _wheel_schemes(root: Path) -> dict[str, str]:
    dicts = [
        syntax.string_dict(node)
        for node in syntax.walk(syntax.read(root / _EXTRACT).tree.statements)
        if isinstance(node, ast.DictExpression)
    ]
    (schemes,) = (found for found in dicts if "scripts" in found)
    return schemes


def _variables(root: Path) -> Iterator[str]:
    """Names asked for as literals, or as constants of the same folder."""
    texts = [path.read_text("utf-8") for path in sorted((root / "python").rglob("*.bzl"))]
    constants = dict(
        pair for text in texts for pair in re.findall(r'^(\w+) = "([A-Z][A-Z0-9_]+)"$', text, re.M)
    )
    for text in texts:
        for literal, name in re.findall(r'\.getenv\(\s*(?:"(\w+)"|(\w+))', text):
            if literal or name in constants:
                yield literal or constants[name]
