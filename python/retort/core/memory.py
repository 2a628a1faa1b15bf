"""Memory of this machine, and memory that is free in this process and not yet for others."""

import ctypes
import os
from contextlib import suppress
from pathlib import Path

# Of the second and first version of control groups; a container sees its own.
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def machine_memory() -> int:
    """Bytes of main memory that processes here can have, all together."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in _LIMITS:
        with suppress(OSError, ValueError):  # not there, or "max"
            memory = min(memory, int(file.read_text(encoding="ascii")))
    return memory


def give_back_memory() -> None:
    """Return what was freed to the system, where the C library knows how (glibc, malloc_trim(3)).

    Worth it after something large that was needed once: by itself the library keeps it for later.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
