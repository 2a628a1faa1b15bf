"""Imports point one way, read from the imports themselves."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import retort

ROOT = Path(retort.__file__).parent
LAYERS = ("core", "data", "models", "evaluate", "train")
ALLOWED = {layer: set(LAYERS[: number + 1]) for number, layer in enumerate(LAYERS)}
ALLOWED["serve"] = {"core", "models", "data.tokenise", "serve"}


def imported(source: str, package: str) -> Iterator[str]:
    """Modules that the source of a module inside `package` imports, at any depth of the code."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1]
            prefix = ".".join([*parts, node.module or ""]) if node.level else node.module or ""
            yield from (f"{prefix.rstrip('.')}.{alias.name}" for alias in node.names)


def forbidden(source: str, package: str) -> list[str]:
    """What the source of a module of `retort.<package>` imports of ours and must not."""
    allowed = [f"retort.{name}" for name in ALLOWED[package]]
    return [
        name
        for name in imported(source, f"retort.{package}")
        if name.split(".")[0] == "retort"
        and not any(name == one or name.startswith(f"{one}.") for one in allowed)
    ]


PACKAGES = sorted(path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file())


def test_every_package_has_its_place() -> None:
    assert set(PACKAGES) <= ALLOWED.keys()
    assert set(LAYERS) <= set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_is_below_it(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    found = {file.name: forbidden(file.read_text(encoding="utf-8"), package) for file in files}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("core", "import retort.data.order"),
        ("core", "from retort import data"),
        ("core", "from ..data import order"),
        ("core", "def f():\n    from retort.train.loop import train"),
        ("data", "from retort.models.checkpoint import Checkpoint"),
        ("models", "from retort.evaluate.metrics import measure"),
        ("evaluate", "if True:\n    import retort.train.run as run"),
        ("evaluate", "from retort.serve import main"),
        ("serve", "from retort.train.recipe import TrainingRecipe"),
        ("serve", "from retort.data.store import TokenStore"),
        ("serve", "from retort.data import sources"),
        ("train", "import retort"),
    ],
)
def test_a_forbidden_import_is_found(package: str, source: str) -> None:
    assert len(forbidden(source, package)) == 1


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("train", "from retort.evaluate.report import render"),
        ("serve", "from retort.data.tokenise import Tokeniser"),
        ("serve", "from retort.data import tokenise"),
        ("serve", "from . import app"),
        ("core", "import torch, retorted"),
    ],
)
def test_an_allowed_import_is_not(package: str, source: str) -> None:
    assert forbidden(source, package) == []
