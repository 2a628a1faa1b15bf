"""The gates: what each runs, and how long it may take before it warns.

Only the standard library of Python 3.11 is used here, as this runs before anything was built.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]

# A command that hangs must fail before the CI job around it is killed without a word.
_TIMEOUT_PER_BUDGET = 4


@dataclass(frozen=True)
class Gate:
    """One gate.

    Attributes:
        budget_minutes: on 2 cores with a cold cache; more is a warning, not a failure.
        commands: run in order in the checkout; the first that fails ends the gate.
        nightly: too long, or too dependent on what others publish, to stand before a change.
        divisible: its last command tests `//...`, of which `--shard` takes a part.
        part: it is such a part.
    """

    name: str
    what: str
    budget_minutes: int
    commands: tuple[tuple[str, ...], ...]
    nightly: bool = False
    divisible: bool = False
    part: bool = False


_SMALL = "//tests/oci:small_image"
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

_EVERYTHING = "//..."

GATES = (
    Gate(
        "quality",
        "black, ruff, mypy --strict, buildifier, actionlint, zizmor, hadolint",
        6,
        (
            # buildifier is an npm package.
            ("python3", "tools/ci/programs.py", "npm"),
            ("./tools/bazel", "run", "//tools/quality:check"),
        ),
    ),
    Gate(
        "smoke",
        "fine-tunes, seals and verifies a model on real news",
        6,
        (("./tools/bazel", "run", "//train:smoke"),),
    ),
    Gate(
        "locks",
        "every lock belongs to its inputs, is hashed throughout and holds what they ask for",
        4,
        (
            (
                "./tools/bazel",
                "test",
                "//tests/tools:locks_test",
                "//tests/oci/dockerfile:debian_lock_test",
            ),
        ),
    ),
    Gate(
        "manifests",
        "overlays for Kubernetes render, and every object in them is what its schema and its operator ask",
        4,
        (
            ("./tools/bazel", "build", "//k8s:all"),
            ("./tools/bazel", "run", "//launch:check", "--", "k8s"),
        ),
    ),
    Gate(
        "reproducibility",
        "trains by 1, 2 and killed processes: equal seals, as published; kernels: equal bits under QEMU",
        6,
        (
            (
                *("python3", "tools/ci/programs.py"),
                *("qemu-aarch64=qemu-user", "qemu-x86_64=qemu-user"),
            ),
            ("./tools/bazel", "test", "//tests/kernels/processors:processors_test"),
            ("python3", "tools/ci/reproducibility.py"),
            ("./tools/bazel", "run", "//train:golden", "--", "--check"),
        ),
    ),
    Gate(
        "tests",
        "every test; --shard 2/4 runs the second of four parts",
        32,
        (
            # Without them, what is tested of pods in namespaces, of other processors, of pages, behind a balancer and
            # before a store would be passed over.
            (
                *(
                    "python3",
                    "tools/ci/programs.py",
                    "bwrap=bubblewrap",
                    "chromedriver=chromium-driver",
                    "chromium",
                    "haproxy",
                    "ip=iproute2",
                    "redis-server",
                ),
                *("nsenter=util-linux", "qemu-x86_64=qemu-user"),
            ),
            ("./tools/bazel", "test", _EVERYTHING),
        ),
        divisible=True,
    ),
    Gate(
        "build",
        "builds everything twice, in different worlds, the second without a network: equal",
        8,
        (
            ("python3", "tools/ci/hermetic.py", _EVERYTHING),
            # They build checkouts of their own, and so not among all tests.
            ("./tools/bazel", "test", "//tests/system:builds"),
        ),
    ),
    Gate(
        "documents",
        "the documents' commands, as a reader types them; every target they name exists",
        8,
        # They serve what the smoke run made, which is another gate's command, and here perhaps another machine's.
        (
            (
                *("sh", "-c"),
                "[ -e runs/smoke/checkpoint/manifest.json ] || exec ./tools/bazel run //train:smoke",
            ),
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
            (
                "python3",
                "tools/ci/hermetic.py",
                *_IMAGES,
                _SMALL,
                f"--controlled={_SMALL}",
                *_FAULTS,
            ),
            ("./tools/bazel", "run", "//docker:golden", "--", "--check"),
            # They start images in namespaces of their own, which the sandbox around a test forbids; the Dockerfile's
            # installs packages, and so waits for a network where the others compute.
            (
                *("./tools/bazel", "test", _OUTSIDE, *_PIP),
                *("//tests/oci:images", "//tests/oci/dockerfile:dockerfile_inference_test"),
            ),
            ("python3", "tools/ci/documents.py", "--gate=images"),
        ),
    ),
    Gate(
        "long",
        "two hundred kills, 1 to 8 processes, five folds, other random cases: what tests do in small",
        60,
        (
            # One of them is seventeen trainings, another twelve under QEMU.
            ("./tools/bazel", "test", "--test_timeout=7200", "//tests/system:long"),
            (
                *("./tools/bazel", "test", "--test_env=HYPOTHESIS_SEED=random"),
                *("//tests/core/...", "//tests/data/...", "//tests/serve/...", "//tests/train:all"),
            ),
            (
                *("./tools/bazel", "run", "//train:folds", "--", "--config", "smoke"),
                *("--folds", "5", "--out", "runs/nightly/folds"),
            ),
        ),
        nightly=True,
    ),
    *(
        Gate(
            recipe,
            f"the recipe {recipe}_distilbert, data and weights from the hub, reaches its accuracy",
            80,
            (
                (
                    *("./tools/bazel", "run", "//train", "--"),
                    *("--config", f"{recipe}_distilbert", "--out", f"runs/nightly/{recipe}"),
                ),
            ),
            nightly=True,
        )
        for recipe in ("agnews", "imdb")
    ),
    Gate(
        "latest",
        "locks made anew with the newest dependencies pass every test",
        45,
        (
            ("./tools/bazel", "run", "//third_party/requirements:update", "--", "--upgrade"),
            ("./tools/bazel", "test", _EVERYTHING),
        ),
        nightly=True,
    ),
    Gate(
        "cuda",
        "the images with CUDA, which need 30 GB of disk",
        45,
        (("./tools/bazel", "build", "//docker:training_cuda", "//docker:inference_cuda"),),
        nightly=True,
    ),
)


def _query(expression: str) -> set[str]:
    command = ["./tools/bazel", "query", "--noshow_progress", expression]
    done = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"bazel query ended with {done.returncode}: {expression}")
    return set(done.stdout.split())


def deal(long: Collection[str], short: Collection[str], shard: int, shards: int) -> list[str]:
    """The labels of one shard, counted from 1. Long tests are dealt out like cards, then short ones.

    Every label is in exactly one shard, and the numbers of long and of short ones differ by one at most.
    """
    return sorted(label for hand in (long, short) for label in sorted(hand)[shard - 1 :: shards])


def part(gate: Gate, shard: int, shards: int) -> Gate:
    """A gate that runs its part of the tests, in its part of the time.

    Raises:
        SystemExit: the tests cannot be listed, or there are fewer than shards.
    """
    tests = f'tests({_EVERYTHING}) except attr(tags, "\\bmanual\\b", {_EVERYTHING})'
    labels = _query(tests)
    long = _query(f'attr(size, "large|enormous", {tests})')
    chosen = deal(long, labels - long, shard, shards)
    if len(labels) < shards:
        sys.exit(f"{shards} shards, but {len(labels)} tests")
    print(f"shard {shard} of {shards}: {len(chosen)} of {len(labels)} tests", file=sys.stderr)
    *first, last = gate.commands
    return dataclasses.replace(
        gate,
        budget_minutes=math.ceil(gate.budget_minutes / shards),
        part=True,
        commands=(*first, (*last[:-1], *chosen)),
    )


def run(gate: Gate) -> int:
    """Runs a gate's commands; returns the exit code of the first that failed, or 0."""
    started = time.monotonic()
    code = 0
    for command in gate.commands:
        said = " ".join(command)
        print(
            f"gate {gate.name}: {said[:200]}{'…' * (len(said) > 200)}", file=sys.stderr, flush=True
        )
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
    if code == 0 and not gate.part:
        _remember(gate, minutes)
    verdict = "passed" if code == 0 else f"FAILED (exit code {code})"
    print(f"gate {gate.name} {verdict} in {minutes:.1f} min", file=sys.stderr, flush=True)
    return code


def _record() -> pathlib.Path:
    """Where this machine keeps how long each gate took here when it last passed."""
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(cache, "retort", "gates.json")


def _measured() -> dict[str, dict[str, Any]]:
    try:
        rows = json.loads(_record().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return rows if isinstance(rows, dict) else {}


def _remember(gate: Gate, minutes: float) -> None:
    """Keep a time for `--list`, if there is a place for it."""
    row = {"minutes": round(minutes, 1), "date": time.strftime("%Y-%m-%d")}
    record = _record()
    partial = record.with_name(f"{record.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps({**_measured(), gate.name: row}), encoding="utf-8")
        partial.replace(record)


def _list(gates: Sequence[Gate], as_json: bool) -> None:
    measured = _measured()
    if as_json:
        rows = [
            {
                "name": gate.name,
                "budget_minutes": gate.budget_minutes,
                "measured": measured.get(gate.name),
                "what": gate.what,
            }
            for gate in gates
        ]
        print(json.dumps(rows, indent=2))
        return
    width = max(len(gate.name) for gate in gates)
    for gate in gates:
        row = measured.get(gate.name)
        took = f"took {row['minutes']:>4} here, {row['date']}" if row else "not yet run here"
        print(f"{gate.name:<{width}}  {gate.budget_minutes:>3} min  {took:<26}  {gate.what}")


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9][0-9]{0,2})/([1-9][0-9]{0,2})", text)
    if match is None or int(match[1]) > int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not like 2/4: the second of four")
    return int(match[1]), int(match[2])


def main(arguments: Sequence[str]) -> int:
    """Runs the gate that is named; 2 for a name that is none."""
    parser = argparse.ArgumentParser(prog="tools/ci/gate", description=__doc__)
    parser.add_argument("name", nargs="?", choices=[gate.name for gate in GATES])
    parser.add_argument("--list", action="store_true", help="show the gates and their time budgets")
    parser.add_argument("--nightly", action="store_true", help="with --list: those of the night")
    parser.add_argument("--json", action="store_true", help="with --list: as JSON")
    parser.add_argument("--shard", type=_shard, metavar="I/N", help="the I-th of N parts of tests")
    options = parser.parse_args(arguments)
    if options.list:
        _list([gate for gate in GATES if gate.nightly == options.nightly], options.json)
        return 0
    if options.name is None:
        parser.error("name a gate, or --list")
    gate = next(gate for gate in GATES if gate.name == options.name)
    if options.shard is None:
        return run(gate)
    if not gate.divisible:
        parser.error(f"{gate.name} has no parts; --shard is for tests")
    return run(part(gate, *options.shard))
