"""A program sees the packages that its target declares, whatever the machine has installed."""

import json
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


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PYTHONHOME", "/nowhere"),
        ("PYTHONINSPECT", "1"),
        ("PYTHONOPTIMIZE", "2"),
        ("PYTHONPATH", "{planted}"),
        ("PYTHONPLATLIBDIR", "nowhere"),
        ("PYTHONVERBOSE", "1"),
        ("PYTHONWARNINGS", "error"),
    ],
)
def test_what_the_users_shell_says_to_python_reaches_neither_a_program_nor_its_child(
    tmp_path: pathlib.Path, variable: str, value: str
) -> None:
    (tmp_path / "numpy.py").write_text("__version__ = 'planted'\n")
    told = _run("declared", **{variable: value.format(planted=tmp_path)})
    untold = _run("declared")
    assert (told.returncode, told.stdout, told.stderr) == (0, untold.stdout, untold.stderr)


def test_a_program_is_isolated_and_reads_text_as_utf8() -> None:
    assert sys.flags.isolated == 1
    assert sys.flags.utf8_mode == 1
    assert sys.flags.dont_write_bytecode == 1


def _environment_of_a_child(startup: pathlib.Path, *flags: str) -> dict[str, str]:
    """What Python's variables are after a start with the flags by a shell that says other things."""
    report = "import json, os; print(json.dumps(dict(os.environ)))"
    # Debian's own sitecustomize goes before ours in its interpreter, so the file is run by name.
    start = f"import runpy; runpy.run_path({str(startup / 'sitecustomize.py')!r}); {report}"
    done = subprocess.run(
        [sys.executable, *flags, "-c", start],
        env={"PYTHONPATH": "/planted", "PYTHONOPTIMIZE": "1", "HOME": "/"},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = json.loads(done.stdout)
    return {name: value for name, value in found.items() if name.startswith("PYTHON")}


def test_the_start_of_a_program_tells_its_children_what_the_program_was_told() -> None:
    (startup,) = (
        pathlib.Path(entry)
        for entry in sys.path
        if pathlib.Path(entry, "sitecustomize.py").is_file() and entry.endswith("python/startup")
    )
    names = ("DONTWRITEBYTECODE", "NOUSERSITE", "SAFEPATH", "UTF8")
    assert _environment_of_a_child(startup, "-I") == {f"PYTHON{name}": "1" for name in names}
    # A variable that a program sets for a child is left to it.
    assert _environment_of_a_child(startup)["PYTHONPATH"] == "/planted"


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
