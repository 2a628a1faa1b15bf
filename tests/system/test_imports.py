"""Imports point one way, read from the imports themselves."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import retort

ROOT = Path(retort.__file__).parent
LAYERS = ("core", "kernels", "data", "models", "evaluate", "train")
ALLOWED = {layer: set(LAYERS[: number + 1]) for number, layer in enumerate(LAYERS)}
ALLOWED["serve"] = {"core", "models", "data.tokenizers", "serve"}
ALLOWED["export"] = {"core", "data", "models", "evaluate", "export"}
ALLOWED["launch"] = {"core", "train.processes.launch", "train.recipe", "launch"}
ROOMS = {
    "data": (
        *("config", "tokenizers", "files", "sources", "similar", "store", "inspection"),
        *("batches", "reading", "corpus", "preparation"),
    ),
    "launch": (
        *("units", "job", "pods", "pytorch_job", "train_job", "manifests", "rules", "cluster"),
        "launcher",
    ),
    "serve": ("engine", "protocols", "models"),
    "train": (
        *("recipe", "timing", "processes", "observe", "tasks", "engines", "checkpoints", "run"),
    ),
}
"""Folders of a package, and the page of its configuration: each knows itself and those before it,
and not what lies beside them, the doors."""


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


def backwards(source: str, package: str, room: str) -> list[str]:
    """What the source of a module in a room imports of its package and must not."""
    rooms = ROOMS[package]
    inside = f"retort.{package}."
    return [
        name
        for name in imported(source, f"{inside}{room}")
        if name.startswith(inside)
        and name.removeprefix(inside).split(".")[0] not in rooms[: rooms.index(room) + 1]
    ]


def test_every_package_has_its_place() -> None:
    assert set(PACKAGES) <= ALLOWED.keys()
    assert set(LAYERS) <= set(PACKAGES)


@pytest.mark.parametrize("package", ROOMS)
def test_every_room_has_its_place(package: str) -> None:
    folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert folders == {room for room in ROOMS[package] if (ROOT / package / room).is_dir()}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_is_below_it(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    found = {str(file): forbidden(file.read_text(encoding="utf-8"), package) for file in files}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    ("package", "room"), [(package, room) for package, rooms in ROOMS.items() for room in rooms]
)
def test_a_room_imports_only_what_is_before_it(package: str, room: str) -> None:
    folder = ROOT / package / room
    files = sorted(folder.rglob("*.py")) or [folder.with_suffix(".py")]
    found = {
        str(file): backwards(file.read_text(encoding="utf-8"), package, room) for file in files
    }
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    ("package", "room", "source"),
    [
        ("data", "sources", "from retort.data.reading.chunks import Chunk"),
        ("data", "reading", "import retort.data.corpus.corpus"),
        ("data", "config", "from retort.data import sources"),
        ("train", "processes", "from retort.train.tasks.task import Task"),
        ("train", "engines", "def f():\n    from retort.train.checkpoints import policy"),
        ("train", "checkpoints", "from retort.train.run.training import TrainingRun"),
        ("train", "run", "from retort.train import main"),
        ("launch", "job", "from retort.launch.rules.documents import Finding"),
        ("serve", "engine", "import retort.serve.protocols.predict"),
    ],
)
def test_an_import_of_a_room_after_it_is_found(package: str, room: str, source: str) -> None:
    assert len(backwards(source, package, room)) == 1


@pytest.mark.parametrize(
    ("package", "room", "source"),
    [
        ("data", "corpus", "from retort.data.sources.documents import Document"),
        ("train", "engines", "from retort.train.engines.contract import engine"),
        ("train", "run", "from retort.data.store.store import TokenStore"),
    ],
)
def test_an_import_of_a_room_before_it_is_not(package: str, room: str, source: str) -> None:
    assert backwards(source, package, room) == []


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("core", "import retort.data.batches.epoch_order"),
        ("core", "from retort import data"),
        ("core", "from ..data import batches"),
        ("core", "def f():\n    from retort.train.run.training import TrainingRun"),
        ("data", "from retort.models.checkpoint import Checkpoint"),
        ("models", "from retort.evaluate.metrics import measure"),
        ("evaluate", "if True:\n    import retort.train.run.run as run"),
        ("evaluate", "from retort.serve import main"),
        ("launch", "from retort.train.run.run import Run"),
        ("launch", "from retort.train.processes.agent import main"),
        ("serve", "from retort.train.recipe import TrainingRecipe"),
        ("serve", "from retort.data.store.store import TokenStore"),
        ("serve", "from retort.data import sources"),
        ("train", "import retort"),
    ],
)
def test_a_forbidden_import_is_found(package: str, source: str) -> None:
    assert len(forbidden(source, package)) == 1


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("launch", "from retort.train.recipe import TrainingRecipe"),
        ("train", "from retort.evaluate.report.report import render"),
        ("serve", "from retort.data.tokenizers.text_encoder import TextEncoder"),
        ("serve", "from retort.data import tokenizers"),
        ("serve", "from . import app"),
        ("core", "import torch, retorted"),
    ],
)
def test_an_allowed_import_is_not(package: str, source: str) -> None:
    assert forbidden(source, package) == []
