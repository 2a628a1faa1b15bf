"""The air-gapped engine takes CPython 3.11, notes which one, and refuses another by name."""

import json
import os
import pathlib
import platform
import subprocess

import pytest

from tools.ci import hermetic

pytestmark = pytest.mark.skipif(
    not os.path.exists("/usr/bin/bazel-4"), reason="Debian's Bazel is not here"
)
TARGET = "//benchmarks/build:first_line"


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    hermetic.copy_checkout(tmp_path / "checkout")
    return tmp_path / "checkout"


def _bazel(
    checkout: pathlib.Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    base = checkout.parent / "base"
    return subprocess.run(
        ["./tools/bazel", f"--output_base={base}", "--max_idle_secs=5", *arguments],
        cwd=checkout,
        env=os.environ | {"RETORT_ENGINE": "airgap"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_its_version_and_digests_are_an_input_of_every_program(checkout: pathlib.Path) -> None:
    done = _bazel(checkout, "build", TARGET)
    assert done.returncode == 0, done.stderr
    (identity,) = checkout.glob(
        "bazel-bin/benchmarks/build/first_line.runfiles/python_interpreter/interpreter.json"
    )
    described = json.loads(identity.read_text())
    assert described["version"] == platform.python_version()
    assert len(described["executable_sha256"]) == len(described["standard_library_sha256"]) == 64


@pytest.mark.parametrize("answer", ["CPython 3.12.1", "CPython 3.10.13", "PyPy 3.11.9"])
def test_another_one_is_refused_by_name(
    checkout: pathlib.Path, tmp_path: pathlib.Path, answer: str
) -> None:
    other = tmp_path / "python"
    other.write_text(f"#!/bin/sh\necho {answer}\n")
    other.chmod(0o755)
    done = _bazel(checkout, "build", TARGET, RETORT_PYTHON=str(other))
    assert done.returncode != 0
    assert f"{other}: is {answer}" in done.stderr
    assert "Retort needs CPython 3.11" in done.stderr


def test_one_that_is_missing_is_named(checkout: pathlib.Path) -> None:
    done = _bazel(checkout, "build", TARGET, RETORT_PYTHON="/nowhere/python3.11")
    assert "/nowhere/python3.11: there is no such file" in done.stderr
