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
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from tools.ci.rehearsal.expressions import Evaluator, RefusedError, Value, to_text
from tools.ci.rehearsal.machines import bootstrap, place
from tools.ci.rehearsal.steps import UNSAID, Report, State, Steps, check_step

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DIFFERENCES = (
    "actions of others were not run: no cache was restored or saved, no artefact stored, nothing attested",
    "a process that a step leaves running ends with the step in a root; a later step finds no Bazel server",
    "timeout-minutes, concurrency and permissions have no effect; variables of a repository are those of --var",
    "a container's image is a root made by debootstrap, its options (memory, init, privileges) those of this machine",
)


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
            check_step(f"job {name}", step)


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
        "shell": "sh" if "container" in job else UNSAID,
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
        Steps(rehearsal.checkout, label, report, defaults).run(job.get("steps", []), state)
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
