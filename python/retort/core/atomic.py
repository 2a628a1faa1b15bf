"""Directories that appear whole or not at all.

A directory is written as a hidden sibling of its target and renamed into place when it is complete.
Whoever writes a sibling holds a lock on it; the kernel drops the lock when the process dies, so a
sibling without a lock is what a killed process left behind, and the next writer removes it.
"""

import ctypes
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from retort.core.errors import StorageError
from retort.core.locks import take_lock

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_NO_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM}
_IN_THE_WAY = {errno.ENOTEMPTY, errno.EEXIST}
_DISK_ERRORS = {errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EROFS}


@contextmanager
def replacing(target: Path, check_replaceable: Callable[[Path], None]) -> Iterator[Path]:
    """Yield a new empty directory; when the block ends without an error, it becomes `target`.

    Files must be complete and synced by then (see `sync_path`); this function syncs directories.
    At every moment `target` is its old self or its new one, also after a power cut. Two writers
    of one target both succeed, one after the other.

    Args:
        check_replaceable: called with `target` when something is there; it raises when that
            must not be replaced. It is called before the block and again before the rename.
    Raises:
        StorageError: the disk is full, permission is missing, or a file is in the way.
    """
    target = Path(os.path.abspath(target))
    if not target.name:
        raise StorageError(f"{target}: cannot be replaced; choose another place")
    temporary: Path | None = None
    lock: int | None = None
    try:
        with storage_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(target)
            _check(target, check_replaceable)
            temporary, lock = _create_locked(target)
            yield temporary
            _sync_directories(temporary)
            _rename_over(temporary, target, check_replaceable)
            sync_path(target.parent)
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if lock is not None:
            os.close(lock)


@contextmanager
def storage_errors(target: Path) -> Iterator[None]:
    """Turn the system's errors of a failed write at or beside `target` into a `StorageError`."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            ours = error.errno in _DISK_ERRORS
        else:
            ours = _concerns(target, Path(os.fsdecode(error.filename)))
        if not ours or error.errno is None:
            raise
        full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        hint = "make room or " if full else ""
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            hint = "make it writable or "
        raise StorageError(
            f"{target}: cannot be written: {os.strerror(error.errno)}; {hint}choose another place"
        ) from error


def _concerns(target: Path, path: Path) -> bool:
    """Whether a path is the target, inside it, a directory above it, or a sibling of our making."""
    if target.is_relative_to(path) or path.is_relative_to(target):
        return True
    if not path.is_relative_to(target.parent):
        return False
    return path.relative_to(target.parent).parts[0].startswith(f".{target.name}.")


def sync_path(path: Path) -> None:
    """Have the disk hold what was written to a file or directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_directories(root: Path) -> None:
    for directory, _, _ in os.walk(root, topdown=False):
        sync_path(Path(directory))


def _sibling(target: Path, purpose: str) -> Path:
    return target.with_name(f".{target.name}.{purpose}-{secrets.token_hex(8)}")


def _check(target: Path, check_replaceable: Callable[[Path], None]) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise StorageError(f"{target}: is not a directory; remove it or choose another place")
    if target.is_dir() and any(target.iterdir()):
        check_replaceable(target)


def _rename_over(temporary: Path, target: Path, check_replaceable: Callable[[Path], None]) -> None:
    """Rename `temporary` to `target`. What was there before ends at `temporary` or is removed."""
    while True:
        try:
            os.rename(temporary, target)
            return
        except OSError as error:
            if error.errno not in _IN_THE_WAY:
                raise
        _check(target, check_replaceable)
        try:
            _exchange(temporary, target)
            return
        except FileNotFoundError:
            continue  # another writer has just set the target aside
        except OSError as error:
            if error.errno not in _NO_EXCHANGE:
                raise
        _set_aside_and_rename(temporary, target)
        return


def _exchange(one: Path, other: Path) -> None:
    """Swap two names in one step (Linux, renameat2(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    result = libc.renameat2(
        _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE
    )
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(other))


def _set_aside_and_rename(temporary: Path, target: Path) -> None:
    """For file systems that cannot exchange: a kill between the two renames is mended by the
    next writer, which puts the directory set aside back (`_remove_leftovers`)."""
    while True:
        aside = _sibling(target, "aside")
        lock = _try_lock(target)
        try:
            with suppress(FileNotFoundError):
                os.rename(target, aside)
            try:
                os.rename(temporary, target)
            except OSError as error:
                if error.errno in _IN_THE_WAY:
                    continue  # another writer was faster: its directory is the old one now
                os.rename(aside, target)
                raise
            return
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            if lock is not None:
                os.close(lock)


def _create_locked(target: Path) -> tuple[Path, int | None]:
    """Make a directory beside the target and lock it."""
    while True:
        path = _sibling(target, "sealing")
        path.mkdir()
        try:
            return path, take_lock(path)
        except (BlockingIOError, FileNotFoundError):
            continue  # a cleaner came between the two and removes it
        except OSError:  # no locks on this file system, so nobody cleans up here either
            return path, None


def _try_lock(path: Path) -> int | None:
    """A descriptor that holds the lock on a directory; None if it is gone or held by another."""
    with suppress(OSError):
        return take_lock(path)
    return None


def _remove_leftovers(target: Path) -> None:
    """Remove what killed writers of `target` left; bring back a target that one set aside."""
    aside, sealing = f".{target.name}.aside-", f".{target.name}.sealing-"
    for leftover in sorted(target.parent.iterdir()):
        if not leftover.name.startswith((aside, sealing)):
            continue
        lock = _try_lock(leftover)
        if lock is None:
            continue
        try:
            if leftover.name.startswith(aside) and not target.exists():
                os.rename(leftover, target)
            else:
                shutil.rmtree(leftover, ignore_errors=True)
        finally:
            os.close(lock)
