"""Keeps Bazel's disk cache from run to run, and small: `python3 tools/ci/workflows/disk_cache.py use|prune --help`.

An archive keeps when a file was written, not when it was read. So `use` sets the time of last access to that of
writing, whereupon the file system notes the first access that follows (relatime); and `prune` removes what was not read
for longest and writes the time of last access where an archive keeps it.
Only the standard library of Python 3.11 is used here.
"""

import argparse
import os
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]


@dataclass(frozen=True, order=True)
class Entry:
    """A file of the cache; the time is in nanoseconds, the size in bytes."""

    used: int
    path: pathlib.Path
    size: int


def entries(folder: pathlib.Path) -> list[Entry]:
    """The files of a cache, least recently used first."""
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            path = pathlib.Path(place, name)
            status = path.lstat()
            found.append(Entry(max(status.st_atime_ns, status.st_mtime_ns), path, status.st_size))
    return sorted(found)


def age(folder: pathlib.Path) -> None:
    """Has the file system note which files are read from now on."""
    for entry in entries(folder):
        written = entry.path.lstat().st_mtime_ns
        os.utime(entry.path, ns=(written, written), follow_symlinks=False)


def use(folder: pathlib.Path, rc: pathlib.Path) -> None:
    """Has Bazel use the cache: a line in an rc file, written once."""
    folder.mkdir(parents=True, exist_ok=True)
    age(folder)
    line = f"build --disk_cache={folder}\n"
    before = rc.read_text(encoding="utf-8") if rc.exists() else ""
    if line not in before:
        rc.write_text(before + line, encoding="utf-8")


def prune(folder: pathlib.Path, limit: int) -> tuple[int, int]:
    """Removes the least recently used files until the rest has at most `limit` bytes.

    Returns:
        the bytes that were there, and those that stay.
    """
    found = entries(folder)
    before = left = sum(entry.size for entry in found)
    for entry in found:
        if left > limit:
            entry.path.unlink()
            left -= entry.size
        else:
            os.utime(entry.path, ns=(entry.used, entry.used), follow_symlinks=False)
    return before, left


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one of the two steps."""
    parser = argparse.ArgumentParser(prog="tools/ci/workflows/disk_cache.py", description=__doc__)
    parser.add_argument("step", choices=("use", "prune"))
    parser.add_argument("--folder", required=True, type=pathlib.Path)
    parser.add_argument("--limit-mb", type=int, default=1024, help="prune: what may stay, in MB")
    options = parser.parse_args(arguments)
    folder = options.folder.expanduser().resolve()
    if options.step == "use":
        use(folder, CHECKOUT / "user.bazelrc")
        return
    before, left = prune(folder, options.limit_mb * 1_000_000)
    print(f"{folder}: {before / 1e6:.0f} MB, of which {left / 1e6:.0f} MB stay")


if __name__ == "__main__":
    main()
