"""`//data:prepare` as a process in a group of its own, which a test may kill or interrupt."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import yaml

from retort.core.forks.client import Captured
from retort.data.config import CorpusConfig


def write_recipe(root: Path, config: CorpusConfig, tokenizer: bytes) -> Path:
    """Write a recipe of these documents, and its tokenizer beside it."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "tokenizer.json").write_bytes(tokenizer)
    values = {
        "data": config.model_dump(mode="json", exclude_unset=True),
        "tokenizer": {"file": str(root / "tokenizer.json")},
    }
    (root / "recipe.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return root / "recipe.yaml"


class Preparing:
    """It, as it runs; forked where a test has seen to a server.

    Attributes:
        pid: its number, and that of its group.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._captured = Captured(command)
        self.pid = self._captured.process.pid

    @property
    def returncode(self) -> int | None:
        """As of `subprocess.Popen`."""
        return self._captured.process.returncode

    def poll(self) -> int | None:
        """As of `subprocess.Popen`."""
        return self._captured.process.poll()

    def communicate(self) -> tuple[str, str]:
        """Wait for its end: what it has said."""
        done = self._captured.wait()
        return done.stdout, done.stderr


def start(recipe: Path, out: Path, *options: str) -> Preparing:
    """Start it."""
    return Preparing(["retort.data.prepare", "--config", str(recipe), "--out", str(out), *options])


def prepare(recipe: Path, out: Path, *options: str) -> str:
    """Run it to its good end: the seal."""
    process = start(recipe, out, *options)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return output.split()[1]


def wait_until(condition: Callable[[], object], process: Preparing) -> None:
    """Wait for something that a process does before it ends."""
    while process.poll() is None and not condition():
        time.sleep(0.001)


def living(group: int) -> list[int]:
    """The processes of a group that run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, rest = int(entry.parent.name), entry.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(rest[2]) == group and rest[0] not in "ZX":
            found.append(number)
    return found


def kept(out: Path) -> list[Path]:
    """The files of tokens that wait beside a store for its next writer."""
    work = out.with_name(f".{out.name}.work")
    names: list[str] = []
    with suppress(FileNotFoundError):
        names = os.listdir(work)
    return [work / name for name in sorted(names) if name.endswith(".tokens")]


def wait_for_the_end_of_all(group: int) -> None:
    """Wait until no process of a group runs."""
    while living(group):
        time.sleep(0.01)
