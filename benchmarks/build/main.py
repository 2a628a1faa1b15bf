"""What Bazel costs: `python3 benchmarks/build/main.py [--runs N] [--out FILE]`.

Each figure is a median of several runs; where two things are compared, they take turns in one run. It works on a copy
of the checkout, as it changes a source file.
"""

import argparse
import datetime
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
_CHANGED = "python/retort/train/run/training.py"
_ALSO_CHANGED = (
    "//python/retort/train/observe:console.py",
    "//python/retort/data/sources:csv_files.py",
    "//python/retort/serve/protocols:predict.py",
    "//python/retort/train/engines/contract:tree.py",
)
_TORCH_TEST = "//benchmarks/build:import_torch_test"
# A test that a busy machine fails must not cost the figures of an hour.
_TEST = ("test", "--flaky_test_attempts=2", "//...")


def _bazel(checkout: pathlib.Path, *arguments: str) -> str:
    done = subprocess.run(
        ["./tools/bazel", *arguments],
        cwd=checkout,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\nbazel {' '.join(arguments)} failed")
    return done.stdout


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _no_op(checkout: pathlib.Path, runs: int) -> list[float]:
    _bazel(checkout, "build", "//...")
    return [_seconds(lambda: _bazel(checkout, "build", "//...")) for _ in range(runs)]


def _first_line(checkout: pathlib.Path, runs: int) -> list[float]:
    """Until a program whose first line prints has printed, Bazel's own start included."""
    _bazel(checkout, "run", "//benchmarks/build:first_line")
    return [
        _seconds(lambda: _bazel(checkout, "run", "//benchmarks/build:first_line"))
        for _ in range(runs)
    ]


def _torch(checkout: pathlib.Path, runs: int) -> tuple[list[float], list[float]]:
    """A test that imports torch, by Bazel in the sandbox and by the same interpreter directly."""
    _bazel(checkout, "test", _TORCH_TEST)
    program = checkout / "bazel-bin/benchmarks/build/import_torch_test"
    by_bazel, directly = [], []
    for _ in range(runs):
        by_bazel.append(
            _seconds(lambda: _bazel(checkout, "test", "--nocache_test_results", _TORCH_TEST))
        )
        directly.append(
            _seconds(lambda: subprocess.run([program], check=True, stdout=subprocess.DEVNULL))
        )
    return by_bazel, directly


def _changed_line(checkout: pathlib.Path) -> tuple[float, str]:
    """Seconds, and which tests ran again, after one line of the trainer changed."""
    _bazel(checkout, *_TEST)
    source = checkout / _CHANGED
    source.write_text(source.read_text() + "\n# one more line\n")
    output = ""

    def test() -> None:
        nonlocal output
        output = _bazel(checkout, *_TEST)

    seconds = _seconds(test)
    executed = re.search(r"Executed (\d+) out of (\d+) tests", output)
    assert executed is not None, output
    always = _labels(checkout, "attr(tags, external, tests(//...))")
    return seconds, (
        f"{executed[1]} of {executed[2]} tests ran again, {len(always)} of them because they read "
        "the checkout and always do"
    )


def _labels(checkout: pathlib.Path, expression: str) -> set[str]:
    said = _bazel(checkout, "query", expression, "--noshow_progress")
    return {line for line in said.splitlines() if line.startswith("//")}


def _dependents(checkout: pathlib.Path) -> list[tuple[str, str, str]]:
    """Which tests run again after a line of a file changed, by what they depend on."""
    tests = 'tests(//...) except attr(tags, "\\bmanual\\b", //...)'
    every = len(_labels(checkout, tests))
    rows = []
    for label in _ALSO_CHANGED:
        again = _labels(checkout, f"({tests}) intersect rdeps(//..., {label})")
        rows.append((f"tests that depend on `{label}`", f"{len(again)} of {every}", ""))
    return rows


def _copy(folder: pathlib.Path) -> pathlib.Path:
    checkout = folder / "checkout"
    ignored = shutil.ignore_patterns(".git", "runs", "bazel-*")
    shutil.copytree(CHECKOUT, checkout, ignore=ignored)
    return checkout


def measure(runs: int) -> str:
    """Runs everything; returns a table in Markdown."""
    # Not below /tmp: pods have one of their own, and so would not see this checkout's files.
    with tempfile.TemporaryDirectory(prefix="retort-benchmark-", dir=CHECKOUT.parent) as name:
        checkout = _copy(pathlib.Path(name))
        try:
            no_op = _no_op(checkout, runs)
            first_line = _first_line(checkout, runs)
            by_bazel, directly = _torch(checkout, runs)
            dependents = _dependents(checkout)
            changed, ran_again = _changed_line(checkout)
        finally:
            base = _bazel(checkout, "info", "output_base").splitlines()[-1]
            _bazel(checkout, "shutdown")
            subprocess.run(["chmod", "-R", "u+w", base], check=False)
            shutil.rmtree(base, ignore_errors=True)
    overhead = statistics.median(by_bazel) - statistics.median(directly)
    rows: Sequence[tuple[str, str, str]] = (
        ("no-op `bazel build //...`", _spread(no_op), "under 1 s"),
        ("`bazel run` to the first line of our code, warm", _spread(first_line), "under 3 s"),
        ("test that imports torch, in the sandbox", _spread(by_bazel), ""),
        ("the same program started directly", _spread(directly), ""),
        ("sandbox and runfiles cost of that test", f"{overhead:.2f} s", "under 1 s"),
        (
            f"`bazel test //...` after a line of `{_CHANGED}` changed",
            f"{changed:.1f} s, {ran_again}",
            "what depends on it",
        ),
        *dependents,
    )
    lines = [
        f"# What Bazel costs, {datetime.datetime.now(datetime.UTC).date()}",
        "",
        f"`python3 benchmarks/build/main.py --runs {runs}` on {os.cpu_count()} cores "
        f"({platform.machine()}, Linux {platform.release()}), air-gapped engine. "
        "Medians, with the least and the most.",
        "",
        "| what | measured | target |",
        "|---|---|---|",
        *(f"| {what} | {figure} | {target} |" for what, figure, target in rows),
    ]
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Prints the table, and writes it where `--out` says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    table = measure(options.runs)
    print(table)
    if options.out:
        options.out.write_text(table)


if __name__ == "__main__":
    main()
