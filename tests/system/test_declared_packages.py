"""A program sees the packages that its target declares, whatever the machine has installed."""

import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent


def _run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k not in ("RUNFILES_DIR", "PYTHONPATH")}
    return subprocess.run(
        [HERE / program], capture_output=True, text=True, env=clean | environment, check=False
    )


def test_a_declared_package_is_there_for_the_program_and_its_children() -> None:
    done = _run("declared")
    assert done.returncode == 0, done.stderr
    versions = [line for line in done.stdout.splitlines() if line[0].isdigit()]
    assert len(versions) == 2
    assert versions[0] == versions[1]


def test_an_undeclared_package_is_not_there() -> None:
    done = _run("undeclared")
    assert done.returncode == 1
    assert "ModuleNotFoundError: No module named 'numpy'" in done.stderr


def test_the_user_cannot_add_a_package(tmp_path: pathlib.Path) -> None:
    (tmp_path / "numpy.py").write_text("__version__ = 'planted'\n")
    user_site = (
        tmp_path / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    )
    user_site.mkdir(parents=True)
    (user_site / "numpy.py").write_text("__version__ = 'planted'\n")
    done = _run("undeclared", PYTHONPATH=str(tmp_path), PYTHONUSERBASE=str(tmp_path))
    assert done.returncode == 1
    assert "No module named 'numpy'" in done.stderr


def test_only_this_tests_packages_and_the_standard_library_are_on_the_path() -> None:
    standard = pathlib.Path(os.__file__).parent
    runfiles = pathlib.Path(os.environ["RUNFILES_DIR"])
    strangers = [
        entry
        for entry in map(pathlib.Path, sys.path)
        if entry.exists()
        and not entry.is_relative_to(standard)
        and not entry.is_relative_to(runfiles)
    ]
    assert strangers == []
    with pytest.raises(ModuleNotFoundError):
        __import__("torch")
