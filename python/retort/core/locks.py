"""Locks on files and directories, which the kernel drops when their holder dies (flock(2))."""

import errno
import fcntl
import os
from pathlib import Path


def take_lock(path: Path, *, make: bool = False) -> int:
    """Lock a directory, or with `make` a file, which is made if it is not there.

    Returns:
        A descriptor: the lock is held until it is closed.
    Raises:
        BlockingIOError: another holds it.
        FileNotFoundError: it is gone, maybe removed by who held the lock before.
        OSError: it is something else, or this file system has no locks.
    """
    flags = os.O_RDWR | os.O_CREAT if make else os.O_RDONLY | os.O_DIRECTORY
    descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), path.lstat()):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
