"""The Starlark files of this repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.tools.upstream import syntax


def root_above(test: Path) -> Path:
    """The repository of tests/tools/`test`: its runfiles if they hold it, else the checkout."""
    for candidate in (test.parents[2], test.resolve().parents[2]):
        if (candidate / "MODULE.bazel").is_file():
            return candidate
    raise AssertionError(f"no MODULE.bazel above {test}")


def sources(root: Path) -> dict[str, syntax.Source]:
    """Every Starlark file, parsed, by its path in the repository."""
    folders = [path for path in root.iterdir() if path.is_dir() and _is_ours(path.name)]
    paths = [*root.glob("*"), *(path for folder in folders for path in folder.rglob("*"))]
    shown = {path.relative_to(root).as_posix(): path for path in sorted(paths)}
    return {
        name: syntax.read(path, name)
        for name, path in shown.items()
        if syntax.is_starlark(path) and path.is_file()
    }


def _is_ours(folder: str) -> bool:
    return not folder.startswith((".", "bazel-")) and folder != "runs"


def shared(root: Path, found: dict[str, syntax.Source]) -> dict[str, syntax.Source]:
    """The BUILD and .bzl files that both engines load."""
    ignored = (root / ".bazelignore").read_text(encoding="utf-8").split()
    return {
        name: source
        for name, source in found.items()
        if not any(name.startswith(f"{folder}/") for folder in ignored) and _is_shared(name)
    }


def _is_shared(name: str) -> bool:
    is_bzl = name.endswith(".bzl") and not name.startswith("third_party/airgap/")
    return is_bzl or Path(name).name in syntax.BUILD_NAMES


def empty_globs(root: Path, source: syntax.Source) -> list[str]:
    """Globs that match nothing: an error in Bazel 8 unless `allow_empty` is True."""
    package = (root / source.path).parent
    found = []
    for call in syntax.calls(source):
        if syntax.dotted(call.fn) != "glob" or syntax.keyword(call, "allow_empty") is not None:
            continue
        patterns = syntax.strings(syntax.keyword(call, "include") or call.args[0])
        if not any(_matches(package, pattern) for pattern in patterns):
            found.append(f"{source.where(call)}: glob matches nothing, and does not allow that")
    return found


def _matches(package: Path, pattern: str) -> bool:
    # A final `**` is every file below in Bazel, and every folder in pathlib.
    spelled = f"{pattern}/*" if pattern.endswith("**") else pattern
    return any(path.is_file() for path in package.glob(spelled))


def inventory(root: Path) -> dict[str, Any]:
    """What `inventory` wrote: `modules` by name, and `bazelisk`."""
    text = (root / "third_party/airgap/upstream.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def real_modules(root: Path) -> dict[str, Any]:
    """What `inventory` wrote of each module."""
    modules: dict[str, Any] = inventory(root)["modules"]
    return modules
