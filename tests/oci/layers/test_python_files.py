"""Python packages of a build as one site-packages, for the runfiles of both engines."""

import json
import pathlib

import pytest

from tools.oci.errors import ImageError
from tools.oci.layers import build_layer
from tools.oci.layers.python_files import import_roots, site_packages


def _wheel(folder: pathlib.Path, name: str, *requires: str) -> pathlib.Path:
    """A wheel as the air-gapped engine has it: one directory, and its pin beside it."""
    home = folder / name / "site-packages"
    module = name.replace("-", "_")
    files = {
        f"{module}/__init__.py": "print('imported')\n",
        f"{module}/__pycache__/__init__.cpython-311.pyc": "of another Python",
        f"{module}/lib.so": "ELF",
        "bin/program": "ELF",
        f"{module}-1.0.dist-info/METADATA": f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n"
        + "".join(f"Requires-Dist: {need}\n" for need in requires)
        + "License-Expression: MIT\n\nLong text\n",
    }
    for path, content in files.items():
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text(content)
    (folder / name / "wheel.json").write_text(json.dumps({"sha256": "ab" * 32}))
    return home


def test_a_directory_and_its_files_one_by_one_give_the_same(tmp_path: pathlib.Path) -> None:
    home = _wheel(
        tmp_path, "some-thing", "numpy>=1; python_version > '3'", "x[y]", "z; extra == 'z'"
    )
    whole = import_roots(
        {"pypi_x/site-packages": home, "pypi_x/wheel.json": home.parent / "wheel.json"},
        ["pypi_x/site-packages"],
    )
    # rules_python notes that it unpacked the wheel, and lays its programs beside the import root.
    (installer := tmp_path / "INSTALLER").write_text("rules_python")
    each = import_roots(
        {
            f"rules++x/site-packages/{path.relative_to(home).as_posix()}": path
            for path in home.rglob("*")
            if path.is_file()
        }
        | {
            "rules++x/site-packages/some_thing-1.0.dist-info/INSTALLER": installer,
            "rules++x/bin/program": home / "bin/program",
        },
        ["rules++x/site-packages"],
    )
    trees = [site_packages(roots, "opt/site-packages") for roots in (whole, each)]
    paths = [sorted(entry.path for entry in tree.entries) for tree in trees]
    assert paths[0] == paths[1]
    assert paths[0] == [
        "opt/site-packages/some_thing-1.0.dist-info/METADATA",
        "opt/site-packages/some_thing/__init__.py",
        "opt/site-packages/some_thing/lib.so",
    ]
    (package,) = trees[0].packages
    assert (package.name, package.version, package.licence) == ("some-thing", "1.0", "MIT")
    assert package.sha256 == "ab" * 32
    assert package.requires == ("numpy", "x")


def test_tiers_take_what_they_name_and_leave_what_lies_below(tmp_path: pathlib.Path) -> None:
    names = ("one", "two", "three")
    roots = import_roots(
        {f"{name}/site-packages": _wheel(tmp_path, name) for name in names},
        [f"{name}/site-packages" for name in names],
    )
    only = site_packages(roots, "x", only=frozenset({"one"}))
    rest = site_packages(roots, "x", without=frozenset({"one"}))
    assert [package.name for package in only.packages] == ["one"]
    assert [package.name for package in rest.packages] == ["two", "three"]
    with pytest.raises(ImageError, match="no such distribution among the dependencies: four"):
        site_packages(roots, "x", only=frozenset({"four"}))


def test_a_layer_of_sources_and_one_of_packages_share_a_site_packages(
    tmp_path: pathlib.Path,
) -> None:
    home = _wheel(tmp_path, "one")
    ours = tmp_path / "ours.py"
    ours.write_text("import one\n")
    common = ["--site-packages=opt/s", "--main-repository=retort", "--import=retort/python"]
    common += ["--import=one/site-packages", f"--runfile={home}\t../one/site-packages"]
    common += [f"--runfile={ours}\tpython/pkg/ours.py"]
    for name, more in (("packages", []), ("all", ["--sources"])):
        tar, index = tmp_path / f"{name}.tar", tmp_path / f"{name}.json"
        build_layer.main([f"--name={name}", f"--tar={tar}", f"--index={index}", *common, *more])
    packages, everything = (
        set(json.loads((tmp_path / f"{name}.json").read_text())["entries"])
        for name in ("packages", "all")
    )
    assert everything - packages == {"opt/s/pkg", "opt/s/pkg/ours.py"}
    above = ["--name=above", f"--tar={tmp_path / 'a.tar'}", f"--index={tmp_path / 'a.json'}"]
    build_layer.main([*above, *common, f"--above={tmp_path / 'packages.json'}"])
    assert json.loads((tmp_path / "a.json").read_text())["entries"] == {}


def test_what_is_listed_is_left_out_and_licences_stay(tmp_path: pathlib.Path) -> None:
    home = _wheel(tmp_path, "one")
    for path in (
        *("one/tests/test_a.py", "one/deep/tests/data.bin", "one/test/b.py", "one/include/a.h"),
        *("one/latests/c.py", "one-1.0.dist-info/licenses/tests/LICENSE", "tests/d.py"),
    ):
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text("")
    roots = import_roots({"one/site-packages": home}, ["one/site-packages"])
    tree = site_packages(roots, "x", listed="# why\n\ntests/\none/include/\n")
    assert sorted(entry.path for entry in tree.entries) == [
        "x/one-1.0.dist-info/METADATA",
        "x/one-1.0.dist-info/licenses/tests/LICENSE",
        "x/one/__init__.py",
        "x/one/latests/c.py",
        "x/one/lib.so",
        "x/one/test/b.py",
    ]


@pytest.mark.parametrize("line", ["tests", "/tests/", "*.h", "a b/", "a//b/"])
def test_a_list_names_directories_and_nothing_else(tmp_path: pathlib.Path, line: str) -> None:
    with pytest.raises(ImageError, match="line 2 of what is left out"):
        site_packages({}, "x", listed=f"tests/\n{line}\n")


def test_a_module_that_no_import_would_find_is_refused(tmp_path: pathlib.Path) -> None:
    ours = tmp_path / "ours.py"
    ours.write_text("")
    arguments = ["--name=app", f"--tar={tmp_path / 'a.tar'}", f"--index={tmp_path / 'a.json'}"]
    arguments += ["--site-packages=opt/s", "--sources", f"--runfile={ours}\tmine/ours.py"]
    with pytest.raises(ImageError, match=r"mine/ours\.py cannot be imported in the image"):
        build_layer.main(arguments)
    assert not (tmp_path / "a.tar").exists()
    build_layer.main([*arguments, "--main-repository=retort", "--import=retort/mine"])
    assert "opt/s/ours.py" in json.loads((tmp_path / "a.json").read_text())["entries"]
