"""Paths as people write them: made absolute, or refused before anything is begun."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from retort.core.errors import StorageError, UserError, shown

_NAME = 255
_PATH = 4095
"""Bytes of a name and of a path: what Linux allows (limits.h)."""
_BESIDE = 40
"""Bytes that names of ours beside a directory have more than its own: `.NAME.sealing-<16 digits>`."""
_BELOW = 512
"""Bytes that paths of ours below a directory have more than its own."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def resolved(text: str, start: Path) -> Path:
    """A path as somebody wrote it, from where it starts; `~` and `~name` are home directories.

    Args:
        start: the directory that a relative path starts from.
    Raises:
        UserError: no file can have it, or its name would not be one line of text.
    """
    if not text:
        raise UserError("a path is empty; give one, such as . for the directory that you are in")
    path = os.path.join(start, text)
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UserError(f"{shown(path)}: is not UTF-8; rename it, or choose another path") from None
    if _CONTROL.search(path):
        raise UserError(
            f"{shown(path)}: holds a line break or another control character; choose another path"
        )
    if text.startswith("~"):
        path = os.path.expanduser(text)
        if path.startswith("~"):
            raise UserError(
                f"{shown(text)}: there is no such user, or no home directory of theirs; write the path "
                "in full"
            )
    _check_size(path, path.split("/"), _NAME, _PATH)
    return Path(path)


def check_place(path: Path) -> None:
    """Refuse a place where a directory can neither be made nor gone on with. Changes nothing.

    Raises:
        StorageError: names too long, a directory above that is none, or no permission.
    """
    _check_size(str(path), [path.name], _NAME - _BESIDE, _PATH - _BELOW)
    above = path
    while True:
        try:
            os.lstat(above)
            break
        except FileNotFoundError:
            above = above.parent
        except OSError as error:
            raise StorageError(
                f"{shown(path)}: cannot be written: {os.strerror(error.errno or 0)}; choose another "
                "place"
            ) from error
    if above != path and not above.is_dir():
        raise StorageError(
            f"{shown(path)}: cannot be written: {shown(above)} is not a directory; choose another "
            "place"
        )
    if above.is_dir() and not os.access(above, os.W_OK | os.X_OK):
        raise StorageError(
            f"{shown(path)}: cannot be written: no permission to write in {shown(above)}; make it "
            "writable or choose another place"
        )


def _check_size(path: str, names: Sequence[str], name: int, most: int) -> None:
    longest = max(map(os.fsencode, names), key=len)
    if len(longest) > name:
        raise StorageError(
            f"{shown(os.fsdecode(longest))}: is too long for a name: {len(longest)} bytes, and "
            f"{name} are possible; choose a shorter one"
        )
    size = len(os.fsencode(path))
    if size > most:
        raise StorageError(
            f"{shown(path)}: is too long for a path: {size} bytes, and {most} are possible; choose a "
            "shorter one"
        )
