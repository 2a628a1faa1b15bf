"""Hands a repository's settings to a job: `python3 tools/ci/workflows/settings.py`, where GITHUB_ENV names a file.

A workflow gives each as SETTING_NAME; one that is not set is an empty word there, which must not reach pip as an empty
address. What is set is written to GITHUB_ENV as NAME; what is not is off, with a notice where that can be missed.
Only the standard library of Python 3.11 is used here.
"""

import os
import pathlib
import re
import sys
from collections.abc import Mapping

_PREFIX = "SETTING_"
_SNAPSHOTS = "RETORT_DEBIAN_SNAPSHOTS"
_APT = pathlib.Path("/etc/apt")


def snapshots(apt: pathlib.Path) -> str:
    """The archive of snapshots that apt's sources of this machine name in a comment, as Debian's images do; or ""."""
    for path in sorted([apt / "sources.list", *apt.glob("sources.list.d/*")]):
        if path.is_file():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                if match := re.match(
                    r"#\s*(https?://\S+?)/archive/debian(?:-security)?/\d{8}T", line
                ):
                    return match[1]
    return ""


def settings(environment: Mapping[str, str], apt: pathlib.Path) -> tuple[dict[str, str], list[str]]:
    """The variables that are set, and the notices about those that are not.

    Raises:
        ValueError: a value has a line break, which would write other variables.
    """
    given = {
        name.removeprefix(_PREFIX): value.strip()
        for name, value in environment.items()
        if name.startswith(_PREFIX)
    }
    if given.get(_SNAPSHOTS) == "":
        given[_SNAPSHOTS] = snapshots(apt)
    for name, value in given.items():
        if "\n" in value or "\r" in value:
            raise ValueError(f"the setting {name} has a line break; write it in one line")
    notices = []
    if given.get(_SNAPSHOTS) == "":
        notices.append(
            "no archive of Debian snapshots is set (DEBIAN_SNAPSHOTS): a locked package that the mirrors have "
            "replaced is then found nowhere"
        )
    return {name: value for name, value in given.items() if value}, notices


def main() -> int:
    """Returns 2 for a setting that cannot be handed on, and where GITHUB_ENV names no file."""
    target = os.environ.get("GITHUB_ENV", "")
    if not target:
        print("error: GITHUB_ENV is not set; a workflow's job sets it", file=sys.stderr)
        return 2
    try:
        found, notices = settings(os.environ, _APT)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with pathlib.Path(target).open("a", encoding="utf-8") as file:
        file.writelines(f"{name}={value}\n" for name, value in found.items())
    print(f"set: {', '.join(found) or 'nothing'}")
    for notice in notices:
        print(f"::notice::{notice}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
