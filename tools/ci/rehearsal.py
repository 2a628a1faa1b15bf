"""Rehearses a workflow: the `run` steps of its jobs, in order, from a clean clone of the newest commit.

    tools/ci/rehearse pr --job quality --job smoke --root /var/tmp/debian12
    tools/ci/rehearse bazelisk --job quality --here

Jobs in containers run in a root of Debian 12 that no job before has changed, or, as those on the runner itself, on
this machine. It is not GitHub: actions of others are not run, and at the end it says what else differs. What it does
not know in a workflow it refuses by name. Exit code 0 if every job passed, 1 if one failed, 2 for what is refused.
"""

import argparse
import itertools
import os
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from tools.ci.expressions import Evaluator, RefusedError, Value, to_text
from tools.ci.machines import Machine, bootstrap, place

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHELLS = {
    "bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail"],
    "sh": ["sh", "-e"],
}
_STEP_KEYS = {"name", "id", "if", "env", "run", "uses", "with", "shell", "working-directory"}
_STEP_KEYS |= {"continue-on-error", "timeout-minutes"}
_DIFFERENCES = (
    "actions of others were not run: no cache was restored or saved, no artefact stored, nothing attested",
    "a process that a step leaves running ends with the step in a root; a later step finds no Bazel server",
    "timeout-minutes, concurrency and permissions have no effect; variables of a repository are those of --var",
    "a container's image is a root made by debootstrap, its options (memory, init, privileges) those of this machine",
)


@dataclass
class Report:
    """What became of each step: job, step, and a line about it."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, job: str, step: str, what: str) -> None:
        self.rows.append((job, step, what))
        print(f"rehearsal: {job}: {step}: {what}", file=sys.stderr, flush=True)


@dataclass
class State:
    """What steps of one list hand on to those after them."""

    machine: Machine
    contexts: dict[str, Value]
    environment: dict[str, str]
    failed: bool = False

    def evaluator(self, **more: Value) -> Evaluator:
        contexts = {**self.contexts, "env": self.environment, **more}
        return Evaluator(contexts, self.machine.outside(self.machine.workspace), self.failed)


@dataclass(frozen=True)
class Rehearsal:
    """One workflow of a checkout, and how it is run."""

    checkout: pathlib.Path
    path: pathlib.Path
    root: pathlib.Path | None
    binds: Mapping[str, pathlib.Path]
    variables: Mapping[str, str]
    passed: Mapping[str, str]
    event: str

    def workflow(self) -> dict[Any, Any]:
        """The file.

        Raises:
            RefusedError: it is none.
        """
        try:
            parsed = yaml.safe_load(self.path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise RefusedError(f"{self.path}: {error}") from error
        if not isinstance(parsed, dict) or not isinstance(parsed.get("jobs"), dict):
            raise RefusedError(f"{self.path}: is no workflow: it has no jobs")
        return parsed

    def github(self) -> dict[str, Value]:
        """The context of that name."""
        commit = subprocess.run(
            ["git", "-C", str(self.checkout), "rev-parse", "HEAD"],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.strip()
        branch = "refs/pull/1/merge" if self.event == "pull_request" else "refs/heads/main"
        return {
            "actor": "somebody",
            "event": {"pull_request": {"number": 1}, "repository": {"private": False}},
            "event_name": self.event,
            "ref": branch,
            "ref_name": branch.partition("/")[2].partition("/")[2],
            "ref_type": "branch",
            "repository": "somebody/retort",
            "repository_owner": "somebody",
            "run_id": "1",
            "sha": commit,
            "workflow": self.path.stem,
        }


def in_order(jobs: Mapping[str, Mapping[str, Any]], chosen: Sequence[str]) -> list[str]:
    """The chosen jobs (all, if none is), each after those that it needs.

    Raises:
        RefusedError: a job is not there, or they need each other in a circle.
    """
    for name in chosen:
        if name not in jobs:
            raise RefusedError(f"there is no job {name}; there are {', '.join(jobs)}")
    left = [name for name in jobs if not chosen or name in chosen]
    ordered: list[str] = []
    while left:
        ready = [name for name in left if not set(needs(jobs[name])) & set(left)]
        if not ready:
            raise RefusedError(f"the jobs {', '.join(left)} need each other")
        ordered += ready
        left = [name for name in left if name not in ready]
    return ordered


def needs(job: Mapping[str, Any]) -> list[str]:
    """The jobs that a job needs."""
    found = job.get("needs", [])
    return [found] if isinstance(found, str) else list(found)


def combinations(job: Mapping[str, Any]) -> Iterator[dict[str, Value]]:
    """The values of a job's matrix; one empty map where there is none.

    Raises:
        RefusedError: the matrix is not lists of values.
    """
    matrix = job.get("strategy", {}).get("matrix", {})
    if not isinstance(matrix, dict):
        raise RefusedError(f"the matrix {matrix!r} is not known")
    for key, values in matrix.items():
        if key in ("include", "exclude") or not isinstance(values, list):
            raise RefusedError(f"the key {key} of a matrix is not known: only lists of values are")
    for values in itertools.product(*matrix.values()):
        yield dict(zip(matrix, values, strict=True))


def check(
    jobs: Mapping[str, Mapping[str, Any]], chosen: Sequence[str], *, root: bool, here: bool
) -> None:
    """Refuses what is not known, before anything is run.

    Raises:
        RefusedError: says what.
    """
    for name in chosen:
        job = jobs[name]
        list(combinations(job))
        if "services" in job:
            raise RefusedError(f"job {name} has services, which are not known")
        if "container" in job and not (root or here):
            raise RefusedError(f"job {name} runs in a container: name --root FOLDER, or --here")
        if "container" not in job and "uses" not in job and not here:
            raise RefusedError(
                f"job {name} runs on the runner itself: say --here to run it on this machine"
            )
        for step in job.get("steps", []):
            _check_step(f"job {name}", step)


def _check_step(where: str, step: Mapping[str, Any]) -> None:
    if unknown := set(step) - _STEP_KEYS:
        raise RefusedError(f"{where}: the key {sorted(unknown)[0]} of a step is not known")
    if ("run" in step) == ("uses" in step):
        raise RefusedError(f"{where}: a step has one of run and uses")


class Steps:
    """Runs the steps of one job, and those of our own actions that they use."""

    def __init__(self, rehearsal: Rehearsal, job: str, report: Report, defaults: Mapping[str, str]):
        self._rehearsal, self._job, self._report = rehearsal, job, report
        self._defaults = defaults

    def run(self, steps: Sequence[Mapping[str, Any]], state: State, prefix: str = "") -> None:
        """Runs steps in order; `state` holds what became of them.

        Raises:
            RefusedError: a step has what is not known.
        """
        found: dict[str, dict[str, Value]] = {}
        state.contexts["steps"] = found
        outputs: dict[str, str]
        for number, step in enumerate(steps, 1):
            _check_step(f"job {self._job}", step)
            label = prefix + to_text(step.get("name") or step.get("uses") or f"step {number}")
            if not state.evaluator().condition(step.get("if")):
                self._report.add(self._job, label, "left out by its condition")
                outputs, passed = {}, True
            elif "run" in step:
                outputs, passed = self._run_script(step, state, label)
            else:
                outputs, passed = self._use(step, state, label)
            if "id" in step:
                result = "success" if passed else "failure"
                found[step["id"]] = {"outputs": outputs, "outcome": result, "conclusion": result}
            state.failed = state.failed or not (passed or step.get("continue-on-error") is True)

    def _run_script(
        self, step: Mapping[str, Any], state: State, label: str
    ) -> tuple[dict[str, str], bool]:
        evaluator = state.evaluator()
        own = {name: evaluator.fill(value) for name, value in step.get("env", {}).items()}
        evaluator = state.evaluator(env={**state.environment, **own})
        shell = step.get("shell", self._defaults.get("shell"))
        if shell is not None and shell not in _SHELLS:
            raise RefusedError(f"job {self._job}: the shell {shell} is not known")
        # Without a word GitHub takes sh in a container, and bash with -e alone on a runner.
        command = (
            _SHELLS[shell] if shell else (["sh", "-e"] if self._rehearsal.root else ["bash", "-e"])
        )
        machine = state.machine
        handed = {
            f"GITHUB_{name}": machine.temporary / name.lower()
            for name in ("ENV", "OUTPUT", "PATH", "STEP_SUMMARY")
        }
        for path in [machine.temporary / "script", *handed.values()]:
            machine.outside(path).write_text("", encoding="utf-8")
        script = machine.temporary / "script"
        machine.outside(script).write_text(evaluator.fill(step["run"]) + "\n", encoding="utf-8")
        folder = machine.workspace / evaluator.fill(
            step.get("working-directory", self._defaults.get("working-directory", ""))
        )
        environment = {**state.environment, **own} | {k: str(v) for k, v in handed.items()}
        started = time.monotonic()
        code = machine.run([*command, str(script)], environment, str(folder))
        self._report.add(self._job, label, f"exit code {code}, {time.monotonic() - started:.1f} s")
        state.environment |= read_pairs(machine.outside(handed["GITHUB_ENV"]))
        added = machine.outside(handed["GITHUB_PATH"]).read_text(encoding="utf-8").split()
        state.environment["PATH"] = ":".join([*reversed(added), state.environment["PATH"]])
        return read_pairs(machine.outside(handed["GITHUB_OUTPUT"])), code == 0

    def _use(
        self, step: Mapping[str, Any], state: State, label: str
    ) -> tuple[dict[str, str], bool]:
        use = step["uses"]
        if use.startswith("actions/checkout@"):
            state.machine.check_out(self._rehearsal.checkout)
            self._report.add(self._job, label, "a clean clone of the newest commit")
            return {}, True
        if not use.startswith("$/"):
            self._report.add(self._job, label, f"NOT RUN: {use}")
            return {}, True
        path = self._rehearsal.checkout / use.removeprefix("$/") / "action.yml"
        try:
            action = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise RefusedError(f"{use}: {error}") from error
        if action.get("runs", {}).get("using") != "composite":
            raise RefusedError(f"{use} is no composite action")
        evaluator = state.evaluator()
        given = {name: evaluator.fill(value) for name, value in step.get("with", {}).items()}
        if unknown := set(given) - set(action.get("inputs", {})):
            raise RefusedError(f"{use} has no input {sorted(unknown)[0]}")
        inputs = {
            name: given.get(name, to_text(one.get("default")))
            for name, one in action.get("inputs", {}).items()
        }
        inner = State(
            state.machine, {**state.contexts, "inputs": inputs}, state.environment, state.failed
        )
        before = state.failed
        inner.failed = False
        self.run(action["runs"]["steps"], inner, f"{label}: ")
        state.environment.update(inner.environment)
        outputs = {
            name: inner.evaluator().fill(one["value"])
            for name, one in action.get("outputs", {}).items()
        }
        state.failed = before
        return outputs, not inner.failed


def read_pairs(path: pathlib.Path) -> dict[str, str]:
    """What a step wrote to GITHUB_ENV or GITHUB_OUTPUT: NAME=VALUE, or NAME<<MARK, lines, MARK.

    Raises:
        RefusedError: a line is neither.
    """
    pairs: dict[str, str] = {}
    lines = iter(path.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if match := re.fullmatch(r"([^=<]+)<<(\S+)", line):
            mark, value = match[2], []
            for one in lines:
                if one == mark:
                    break
                value.append(one)
            pairs[match[1]] = "\n".join(value)
        elif "=" in line:
            name, _, text = line.partition("=")
            pairs[name] = text
        elif line:
            raise RefusedError(f"a step wrote {line!r}, which is not NAME=VALUE")
    return pairs


def rehearse(rehearsal: Rehearsal, chosen: Sequence[str], report: Report, here: bool) -> bool:
    """Runs the jobs; whether all of them passed.

    Raises:
        RefusedError: the workflow has what is not known.
    """
    workflow = rehearsal.workflow()
    jobs: dict[str, dict[str, Any]] = workflow["jobs"]
    order = in_order(jobs, chosen)
    check(jobs, order, root=rehearsal.root is not None, here=here)
    results: dict[str, dict[str, Value]] = {}
    for name in order:
        job = jobs[name]
        needed = {one: results.get(one, {"result": "success", "outputs": {}}) for one in needs(job)}
        failed = any(one["result"] != "success" for one in needed.values())
        contexts: dict[str, Value] = {
            "github": rehearsal.github(),
            "inputs": {},
            "needs": needed,
            "runner": {"os": "Linux", "arch": "X64"},
            "vars": dict(rehearsal.variables),
        }
        asked = Evaluator(contexts, rehearsal.checkout, failed).condition(job.get("if"))
        if not asked:
            report.add(name, "job", "left out by its condition, or by what it needs")
            results[name] = {"result": "skipped", "outputs": {}}
            continue
        if "uses" in job:
            report.add(name, "job", f"NOT RUN: {job['uses']}; rehearse that workflow")
            results[name] = {"result": "success", "outputs": {}}
            continue
        states = [
            _job(rehearsal, workflow, name, contexts | {"matrix": matrix}, report)
            for matrix in combinations(job)
        ]
        last = states[-1]
        outputs = {
            key: last.evaluator().fill(value) for key, value in job.get("outputs", {}).items()
        }
        passed = not any(state.failed for state in states)
        results[name] = {"result": "success" if passed else "failure", "outputs": outputs}
    return all(one["result"] != "failure" for one in results.values())


def _job(
    rehearsal: Rehearsal,
    workflow: Mapping[Any, Any],
    name: str,
    contexts: dict[str, Value],
    report: Report,
) -> State:
    job = workflow["jobs"][name]
    label = " ".join([name, *map(to_text, contexts["matrix"].values())])
    defaults = {
        **workflow.get("defaults", {}).get("run", {}),
        **job.get("defaults", {}).get("run", {}),
    }
    root = rehearsal.root if "container" in job else None
    with place(root, rehearsal.binds) as machine:
        github = contexts["github"]
        environment = {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_REF": github["ref"],
            "GITHUB_REF_NAME": github["ref_name"],
            "GITHUB_REPOSITORY": github["repository"],
            "GITHUB_SHA": github["sha"],
            "GITHUB_WORKSPACE": str(machine.workspace),
            "HOME": str(machine.home),
            "PATH": _PATH if root else os.environ.get("PATH", _PATH),
            "RUNNER_TEMP": str(machine.temporary),
            **rehearsal.passed,
        }
        contexts["github"] = {**github, "workspace": str(machine.workspace)}
        state = State(machine, contexts, environment)
        for part in (workflow, job):
            filled = {key: state.evaluator().fill(one) for key, one in part.get("env", {}).items()}
            state.environment.update(filled)
        Steps(rehearsal, label, report, defaults).run(job.get("steps", []), state)
    report.add(label, "job", "FAILED" if state.failed else "passed")
    return state


def _named(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    return name, value if equals else os.environ.get(name, "")


def _bind(word: str) -> tuple[str, pathlib.Path]:
    place_here, _, seen = word.partition(":")
    return seen or place_here, pathlib.Path(place_here)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tools/ci/rehearse",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workflow", help="a file, or the name of one in .github/workflows")
    parser.add_argument(
        "--job", action="append", default=[], help="this job alone; may be given again"
    )
    parser.add_argument(
        "--root",
        type=pathlib.Path,
        help="jobs in containers run in this Debian 12, made if need be",
    )
    parser.add_argument(
        "--here", action="store_true", help="other jobs, or all without --root, run on this machine"
    )
    parser.add_argument("--event", default="pull_request", choices=("pull_request", "push"))
    parser.add_argument(
        "--var",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a variable of the repository",
    )
    parser.add_argument(
        "--pass",
        dest="passed",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="what steps see of this machine's environment",
    )
    parser.add_argument(
        "--bind",
        action="append",
        default=[],
        metavar="PLACE[:SEEN]",
        help="what the root shows of this machine, read-only",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """As the module says."""
    options = _parser().parse_args(arguments)
    checkout = pathlib.Path(os.environ.get("BUILD_WORKSPACE_DIRECTORY", pathlib.Path.cwd()))
    path = pathlib.Path(options.workflow)
    if path.suffix not in (".yml", ".yaml"):
        path = checkout / f".github/workflows/{options.workflow}.yml"
    root = options.root and (checkout / options.root).resolve()
    rehearsal = Rehearsal(
        checkout=checkout,
        path=checkout / path,
        root=root,
        binds=dict(map(_bind, options.bind)),
        variables=dict(map(_named, options.var)),
        passed=dict(map(_named, options.passed)),
        event=options.event,
    )
    report = Report()
    try:
        if root is not None:
            if os.getuid() != 0:
                raise RefusedError("--root mounts a file system: run it as the superuser")
            bootstrap(root)
        passed = rehearse(rehearsal, options.job, report, options.here)
    except (RefusedError, OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    width = max((len(job) for job, _, _ in report.rows), default=0)
    for job, step, what in report.rows:
        print(f"{job:<{width}}  {step}: {what}")
    print("\nWhat differs from GitHub:")
    differences = [*_DIFFERENCES]
    differences += [
        f"passed in from this machine: {', '.join([*options.passed, *options.bind])}"
    ] * bool(options.passed or options.bind)
    for line in differences:
        print(f"- {line}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
