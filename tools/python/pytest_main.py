"""Runs the test files of one target with pytest; the last lines it prints are pytest's own summary."""

import gc
import importlib.util
import os
import sys

import pytest


class _RestingCollector:
    """The garbage collector rests while test files import: PyTorch's objects stay, and to search them takes long."""

    def pytest_collection(self) -> None:
        gc.disable()

    def pytest_collection_finish(self) -> None:
        gc.freeze()
        gc.enable()


def _take_time() -> None:
    """No case fails for its time: machines are shared, and a slow one is not a wrong one."""
    from hypothesis import HealthCheck, settings

    settings.register_profile("retort", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("retort")


def main() -> int:
    """Returns pytest's exit code; a run without a test counts as a failure."""
    scratch = os.environ["TEST_TMPDIR"]
    # Without it `~` is the home that the machine's user database names, which a test must not read or write.
    os.environ["HOME"] = scratch
    arguments = [
        "--import-mode=importlib",
        "--strict-markers",
        "--strict-config",
        "--color=yes",
        "-p",
        "no:cacheprovider",
        # Else pytest rewrites and compiles all modules of a package that has a plugin, in each process.
        "--disable-plugin-autoload",
        "-o",
        "addopts=",
        f"--basetemp={scratch}/pytest",
    ]
    if report := os.environ.get("XML_OUTPUT_FILE"):
        arguments.append(f"--junitxml={report}")
    if importlib.util.find_spec("hypothesis"):
        _take_time()
        arguments += ["-p", "_hypothesis_pytestplugin"]
        # A test that passed must pass again. By night other cases are made: --test_env=HYPOTHESIS_SEED=random
        arguments.append(f"--hypothesis-seed={os.environ.get('HYPOTHESIS_SEED', '0')}")
    if only := os.environ.get("TESTBRIDGE_TEST_ONLY"):
        arguments.append(f"-k={only}")
    code = pytest.main([*arguments, *sys.argv[1:]], plugins=[_RestingCollector()])
    gc.freeze()  # what is left ends with this process
    return code


if __name__ == "__main__":
    sys.exit(main())
