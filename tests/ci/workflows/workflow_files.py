"""The files under .github, and what they are made of."""

import functools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[3]

PR, IMAGES, NIGHTLY = (f".github/workflows/{name}.yml" for name in ("pr", "images", "nightly"))

BAZELISK, RELEASE = (f".github/workflows/{name}.yml" for name in ("bazelisk", "release"))

TRAIN, KIND = (f".github/workflows/{name}.yml" for name in ("train", "kind"))

CODEQL, SCORECARD = (f".github/workflows/{name}.yml" for name in ("codeql", "scorecard"))

PREPARE, KEEP = (f".github/actions/{name}/action.yml" for name in ("prepare", "keep"))

DEPENDABOT = ".github/dependabot.yml"

RUNNER = "ubuntu-24.04"

TIMEOUT_PER_BUDGET = 4

PREPARATION_MINUTES = 10

ON_MAIN = {"github.event_name == 'push'", "github.ref == 'refs/heads/main'"}

SHARDS = 4

Files = Mapping[str, str]


class Gates(NamedTuple):
    """Budgets in minutes by gate, as the command tells them."""

    day: dict[str, float]
    night: dict[str, float]


Rule = Callable[[Files, Gates], list[str]]


def read_files() -> dict[str, str]:
    """Every YAML file under .github, by its path from the root."""
    found = sorted((ROOT / ".github").rglob("*.yml")) + sorted((ROOT / ".github").rglob("*.yaml"))
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in found}


def list_gates() -> Gates:
    gate = [sys.executable, str(ROOT / "tools/ci/gate"), "--list", "--json"]
    budgets = []
    for more in ([], ["--nightly"]):
        done = subprocess.run([*gate, *more], check=True, capture_output=True, text=True)
        budgets.append({row["name"]: row["budget_minutes"] for row in json.loads(done.stdout)})
    return Gates(*budgets)


@functools.cache
def parse(text: str) -> dict[Any, Any]:
    parsed: dict[Any, Any] = yaml.safe_load(text)
    return parsed


def workflows(files: Files) -> Iterator[tuple[str, dict[Any, Any]]]:
    for path, text in files.items():
        if path.startswith(".github/workflows/"):
            parsed = dict(parse(text))
            parsed["on"] = parsed.pop(True)  # YAML 1.1 reads the bare key `on` as a boolean
            yield path, parsed


def workflow(files: Files, path: str) -> dict[Any, Any]:
    return dict(workflows(files))[path]


def jobs(files: Files) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, name and content of every job."""
    for path, parsed in workflows(files):
        for name, job in parsed["jobs"].items():
            yield path, name, job


def jobs_of(files: Files, path: str) -> dict[str, dict[str, Any]]:
    return dict(workflow(files, path)["jobs"])


def steps(files: Files) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each step of the jobs and of our own actions, with the name of where it stands."""
    for path, name, job in jobs(files):
        for step in job.get("steps", []):
            yield f"{path}, job {name}", step
    for path, text in files.items():
        if path.startswith(".github/actions/"):
            for step in parse(text)["runs"]["steps"]:
                yield path, step


def gate_of(step: Mapping[str, Any]) -> str | None:
    """The gate that a step calls; None when it is anything but one plain call of one gate."""
    run = str(step.get("run", "")).strip()
    if run == 'tools/ci/gate "${GATE}"' and step["env"] == {"GATE": "${{ matrix.gate }}"}:
        return "matrix"
    if run == f'tools/ci/gate tests --shard "${{SHARD}}/{SHARDS}"' and step["env"] == {
        "SHARD": "${{ matrix.shard }}"
    }:
        return "tests"
    call = re.fullmatch(r"tools/ci/gate ([a-z]+)", run)
    return call.group(1) if call else None


def called(files: Files, path: str) -> dict[str, list[str]]:
    """The gates that each job of a workflow calls, less jobs that call none."""
    found = {
        name: [gate for step in job.get("steps", []) if (gate := gate_of(step))]
        for name, job in jobs_of(files, path).items()
    }
    return {name: gates for name, gates in found.items() if gates}
