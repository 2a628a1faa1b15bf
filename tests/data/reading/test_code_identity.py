"""Which code a process runs, whatever folder it lies in."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import retort.core
import retort.data
from retort.core.digest import sha256_file
from retort.data.reading.code_identity import own_identity


def own_files() -> dict[str, Path]:
    """Name in an identity, and file, of every module of ours that reads or tokenises."""
    found = {}
    for package in (retort.core, retort.data):
        for module in walk_packages(package.__path__, f"{package.__name__}."):
            file = Path(str(import_module(module.name).__file__))
            inside = file.relative_to(package.__path__[0])
            found[f"{package.__name__}/{inside.as_posix()}"] = file
    return found


def test_every_module_in_every_folder_is_in_it() -> None:
    files = own_files()
    assert any(name.count("/") > 1 for name in files)
    identity = own_identity()
    assert {name: identity.files.get(name) for name in files} == {
        name: sha256_file(file) for name, file in files.items()
    }
    assert "retort.core/seal.py" in files


def test_a_changed_module_in_a_folder_is_named() -> None:
    identity = own_identity()
    for name in own_files():
        other = replace(identity, files={**identity.files, name: "0" * 64})
        assert identity.difference(other) == f"{name} is another"
