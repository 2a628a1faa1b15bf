"""Runs the steps of a rehearsed job, and those of our own actions that they use."""

import pathlib
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from tools.ci.rehearsal.expressions import Evaluator, RefusedError, Value, to_text
from tools.ci.rehearsal.machines import Machine

# What GitHub takes on a runner where no shell is named; in a container it takes sh.
UNSAID = ""
_SHELLS = {
    "bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail"],
    "sh": ["sh", "-e"],
    UNSAID: ["bash", "-e"],
}
_STEP_KEYS = {"name", "id", "if", "env", "run", "uses", "with", "shell", "working-directory"}
_STEP_KEYS |= {"continue-on-error", "timeout-minutes"}


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


def check_step(where: str, step: Mapping[str, Any]) -> None:
    """Refuses what is not known.

    Raises:
        RefusedError: says what.
    """
    if unknown := set(step) - _STEP_KEYS:
        raise RefusedError(f"{where}: the key {sorted(unknown)[0]} of a step is not known")
    if ("run" in step) == ("uses" in step):
        raise RefusedError(f"{where}: a step has one of run and uses")


class Steps:
    """Runs the steps of one job, and those of our own actions that they use."""

    def __init__(
        self, checkout: pathlib.Path, job: str, report: Report, defaults: Mapping[str, str]
    ) -> None:
        self._checkout, self._job, self._report = checkout, job, report
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
            check_step(f"job {self._job}", step)
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
        shell = step.get("shell", self._defaults["shell"])
        if shell not in _SHELLS:
            raise RefusedError(f"job {self._job}: the shell {shell} is not known")
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
        code = machine.run([*_SHELLS[shell], str(script)], environment, str(folder))
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
            state.machine.check_out(self._checkout)
            self._report.add(self._job, label, "a clean clone of the newest commit")
            return {}, True
        if not use.startswith("$/"):
            self._report.add(self._job, label, f"NOT RUN: {use}")
            return {}, True
        path = self._checkout / use.removeprefix("$/") / "action.yml"
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
