"""Sees to room on a disk: `python3 tools/ci/workflows/disk_space.py --need-gb 30 [FOLDER...]`.

Says what is free, empties the folders in the order named until there is enough, and says what is free then. It fails
where there is not enough in the end, before a build stops in its middle. With `--since FILE` it writes what is free,
or, where that file is there, how much was used since. Only the standard library of Python 3.11 is used here.
"""

import argparse
import os
import pathlib
import shutil
import sys
from collections.abc import Sequence

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]


def empty(folder: pathlib.Path) -> None:
    """Removes what is in a folder; the folder stays, as it may be where another disk is mounted."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def make_room(place: pathlib.Path, need: float, folders: Sequence[pathlib.Path]) -> bool:
    """Whether `need` GB are free at a place, after as few of the folders as it takes were emptied."""

    def free() -> float:
        return shutil.disk_usage(place).free / 1e9

    print(f"{free():.1f} GB free at {place}", flush=True)
    for folder in folders:
        if free() >= need:
            break
        if folder.is_dir():
            empty(folder)
            print(f"{free():.1f} GB free without {folder}", flush=True)
    return free() >= need


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 where there is not enough room."""
    parser = argparse.ArgumentParser(prog="tools/ci/workflows/disk_space.py", description=__doc__)
    parser.add_argument("--need-gb", type=float, default=0)
    parser.add_argument("--since", type=pathlib.Path)
    parser.add_argument("folders", nargs="*", type=pathlib.Path)
    options = parser.parse_args(arguments)
    if options.since is not None and options.since.exists():
        used = float(options.since.read_text()) - shutil.disk_usage(CHECKOUT).free / 1e9
        print(f"::notice::{used:.1f} GB of disk were used, and are still")
    if not make_room(CHECKOUT, options.need_gb, options.folders):
        print(
            f"error: {options.need_gb:g} GB are needed; name more folders to empty", file=sys.stderr
        )
        return 1
    if options.since is not None:
        options.since.write_text(str(shutil.disk_usage(CHECKOUT).free / 1e9))
    return 0


if __name__ == "__main__":
    sys.exit(main())
