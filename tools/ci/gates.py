"""The gates: what each runs, and how long it may take before it warns.

Only the standard library of Python 3.11 is used here, as this runs before anything was built.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]

# A command that hangs must fail before the CI job around it is killed without a word.
_TIMEOUT_PER_BUDGET = 4


@dataclass(frozen=True)
class Gate:
    """One gate.

    Attributes:
        budget_minutes: on 2 cores with a cold cache; more is a warning, not a failure.
        commands: run in order in the checkout; the first that fails ends the gate.
    """

    name: str
    what: str
    budget_minutes: int
    commands: tuple[tuple[str, ...], ...]


_SMALL = ("//tests/oci:small_image",)
_IMAGES = ("//docker:base", "//docker:training", "//docker:inference")
_FAULTS = (
    "--control=--//tools/oci:plant=mtime",
    "--control=--//tools/oci:plant=order",
    "--control=--//tools/oci:plant=owner",
    "--control=--//tools/oci:compression=gzip --//tools/oci:plant=gzip-header",
)

_OUTSIDE = "--strategy=TestRunner=local"
# Where this machine's pip looks for packages, which its configuration or its environment says.
_PIP_SETTINGS = ("CERT", "CONFIG_FILE", "EXTRA_INDEX_URL", "FIND_LINKS", "INDEX_URL")
_PIP = ("--test_env=HOME", *(f"--test_env=PIP_{name}" for name in _PIP_SETTINGS))

GATES = (
    Gate(
        "smoke",
        "fine-tunes, seals and verifies a model on real news",
        6,
        (("./tools/bazel", "run", "//train:smoke"),),
    ),
    Gate(
        "reproducibility",
        "trains by 1, 2 and killed processes: equal seals; with another seed: a different one",
        6,
        (("python3", "tools/ci/reproducibility.py"),),
    ),
    Gate(
        "quality",
        "black, ruff, mypy --strict, buildifier, actionlint, zizmor, hadolint",
        6,
        (("./tools/bazel", "run", "//tools/quality:check"),),
    ),
    Gate(
        "build",
        "builds and tests everything; proves the build hermetic; runs the documents' commands",
        15,
        (
            ("./tools/bazel", "build", "//..."),
            ("./tools/bazel", "test", "//..."),
            ("python3", "tools/ci/hermetic.py", "//..."),
            ("python3", "tools/ci/documents.py"),
        ),
    ),
    Gate(
        "images",
        "images by rules: equal in two worlds, as the golden file says, and run; the Dockerfile's agree",
        15,
        (
            (
                *("python3", "tools/ci/programs.py", "buildah", "bwrap=bubblewrap"),
                *("debootstrap", "docker-registry", "openssl", "podman"),
                *("setpriv=util-linux", "skopeo", "umoci"),
            ),
            ("python3", "tools/ci/hermetic.py", *_SMALL, *_FAULTS),
            ("python3", "tools/ci/hermetic.py", *_IMAGES),
            ("./tools/bazel", "run", "//docker:golden", "--", "--check"),
            # They start images in namespaces of their own, which the sandbox around a test forbids.
            ("./tools/bazel", "test", _OUTSIDE, "//tests/oci:images"),
            ("./tools/bazel", "test", _OUTSIDE, *_PIP, "//tests/oci:dockerfile_inference_test"),
        ),
    ),
)


def run(gate: Gate) -> int:
    """Runs a gate's commands; returns the exit code of the first that failed, or 0."""
    started = time.monotonic()
    code = 0
    for command in gate.commands:
        print(f"gate {gate.name}: {' '.join(command)}", file=sys.stderr, flush=True)
        limit = gate.budget_minutes * 60 * _TIMEOUT_PER_BUDGET
        try:
            code = subprocess.run(command, cwd=CHECKOUT, timeout=limit, check=False).returncode
        except subprocess.TimeoutExpired:
            print(f"gate {gate.name}: no end after {limit // 60} minutes", file=sys.stderr)
            code = 1
        if code:
            break
    minutes = (time.monotonic() - started) / 60
    if minutes > gate.budget_minutes:
        warning = (
            f"gate {gate.name} took {minutes:.1f} minutes; its budget is {gate.budget_minutes}"
        )
        prefix = "::warning::" if os.environ.get("GITHUB_ACTIONS") else "warning: "
        print(prefix + warning, file=sys.stderr)
    verdict = "passed" if code == 0 else f"FAILED (exit code {code})"
    print(f"gate {gate.name} {verdict} in {minutes:.1f} min", file=sys.stderr, flush=True)
    return code


def _list(as_json: bool) -> None:
    if as_json:
        rows = [
            {"name": gate.name, "budget_minutes": gate.budget_minutes, "what": gate.what}
            for gate in GATES
        ]
        print(json.dumps(rows, indent=2))
        return
    width = max(len(gate.name) for gate in GATES)
    for gate in GATES:
        print(f"{gate.name:<{width}}  {gate.budget_minutes:>3} min  {gate.what}")


def main(arguments: Sequence[str]) -> int:
    """Runs the gate that is named; 2 for a name that is none."""
    parser = argparse.ArgumentParser(prog="tools/ci/gate", description=__doc__)
    parser.add_argument("name", nargs="?", choices=[gate.name for gate in GATES])
    parser.add_argument("--list", action="store_true", help="show the gates and their time budgets")
    parser.add_argument("--json", action="store_true", help="with --list: as JSON")
    options = parser.parse_args(arguments)
    if options.list:
        _list(options.json)
        return 0
    if options.name is None:
        parser.error("name a gate, or --list")
    return run(next(gate for gate in GATES if gate.name == options.name))
