"""SHA-256 digests, and the one way that we turn data into bytes before hashing it."""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import TypeAlias

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"


def sha256_bytes(data: bytes) -> str:
    """The digest of `data` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """The digest of a file's content, read in pieces: a file may be larger than memory.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_regular(path: Path, *, follow: bool = True) -> BufferedReader:
    """Open a file to read, and nothing that could keep the reader waiting, such as a pipe.

    Args:
        follow: whether the last name of the path may be a symbolic link.
    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    # Looked at before, as opening a device may do something; and after, as it may be another now.
    _check_regular(path, os.stat(path, follow_symlinks=follow).st_mode)
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    try:
        _check_regular(path, os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, "rb")
    except OSError:
        os.close(descriptor)
        raise


def _check_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        what = "a symbolic link" if stat.S_ISLNK(mode) else "not a regular file"
        raise OSError(errno.EINVAL, f"it is {what}", str(path))


def canonical_json(value: JSON) -> bytes:
    """Equal values give equal bytes: keys sorted, no white space, UTF-8.

    Raises:
        ValueError: NaN, an infinity, or a lone surrogate, none of which JSON can say.
        TypeError: something that is not JSON.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8")
