"""What BUILD files say a program needs, read without Bazel."""

import pathlib

import pytest

from tools.oci.dockerfile.build_graph import closure
from tools.oci.errors import ImageError

ROOT = pathlib.Path(__file__).resolve().parents[3]


def _package(root: pathlib.Path, name: str, build: str, *files: str) -> None:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "BUILD.bazel").write_text(build)
    for file in files:
        (folder / file).touch()


def _names(root: pathlib.Path, target: str) -> list[str]:
    return [str(path) for path in closure(root, target).files]


def test_dependencies_are_followed_across_packages(tmp_path: pathlib.Path) -> None:
    _package(
        tmp_path,
        "a",
        """py_binary(name = "main", srcs = ["main.py"], deps = [":lib", "//b"])
py_library(name = "lib", srcs = ["lib.py"], deps = ["@pypi//numpy"])
py_library(name = "not_wanted", srcs = ["other.py"], deps = ["@pypi//torch"])
""",
    )
    _package(
        tmp_path,
        "b",
        'py_library(name = "b", srcs = ["b.py"], data = ["x.yaml", "//c:made"], deps = ["@files//:data", "//a:lib"])',
    )
    found = closure(tmp_path, "//a:main")
    assert [str(path) for path in found.files] == ["a/lib.py", "a/main.py", "b/b.py", "b/x.yaml"]
    assert found.distributions == ("numpy",)
    assert found.archives == ("files",)
    assert found.made == ("//c:made",)


def test_globs_take_files_less_those_excluded(tmp_path: pathlib.Path) -> None:
    build = 'py_library(name = "a", srcs = glob(["*.py"], exclude = ["b.py"]) + ["x.txt"])'
    _package(tmp_path, "a", build, "a.py", "b.py", "c.py", "d.yaml")
    assert _names(tmp_path, "//a") == ["a/a.py", "a/c.py", "a/x.txt"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        ('py_library(name = "b")', "no target //a:a|no target //a"),
        ('py_library(name = "a", srcs = select({":x": []}))', "BUILD.bazel:1: only lists"),
        ('py_library(name = "a", srcs = [', "cannot be read"),
    ],
)
def test_what_is_not_understood_is_an_error(
    tmp_path: pathlib.Path, build: str, message: str
) -> None:
    _package(tmp_path, "a", build)
    with pytest.raises(ImageError, match=message):
        closure(tmp_path, "//a")


def test_an_absent_package_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        closure(tmp_path, "//a")


def test_the_server_needs_neither_the_trainer_nor_what_draws() -> None:
    found = closure(ROOT, "//python/retort/serve:main")
    names = {str(path) for path in found.files}
    assert {
        "python/retort/__init__.py",
        "python/retort/py.typed",
        "python/retort/serve/main.py",
    } <= names
    assert not any("/train/" in name or name.endswith("pictures.py") for name in names)
    assert "matplotlib" not in found.distributions
    assert found.archives == ()


def test_the_trainer_needs_its_recipes() -> None:
    names = {str(path) for path in closure(ROOT, "//python/retort/train:main").files}
    assert "python/retort/train/recipes/smoke.yaml" in names
    assert not any("/serve/" in name or "test" in pathlib.Path(name).name for name in names)
