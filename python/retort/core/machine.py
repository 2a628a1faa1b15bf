"""What this process may have of its machine, and memory that is free in it and not yet for others."""

import ctypes
import gc
import math
import os
from contextlib import suppress
from pathlib import Path

# Of the second and first version of control groups; a container sees its own.
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_MEMORY_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def machine_memory() -> int:
    """Bytes of main memory that processes here can have, all together."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in _MEMORY_LIMITS:
        with suppress(OSError, ValueError):  # not there, or "max"
            memory = min(memory, int(_limit(name)))
    return memory


def processors() -> int:
    """How many processors this process has at once: those it may run on, or a container's limit of time on them."""
    allowed = len(os.sched_getaffinity(0))
    quota = None
    with suppress(OSError, ValueError):  # not there, or "max"
        granted, period = map(int, _limit("cpu.max").split())
        quota = granted / period
    with suppress(OSError, ValueError):
        granted = int(_limit("cpu/cpu.cfs_quota_us"))
        quota = granted / int(_limit("cpu/cpu.cfs_period_us")) if granted > 0 else quota
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def _limit(name: str) -> str:
    return (_CONTROL_GROUPS / name).read_text(encoding="ascii")


def give_back_memory() -> None:
    """Return what was freed to the system, where the C library knows how (glibc, malloc_trim(3)).

    Worth it after something large that was needed once: by itself the library keeps it for later.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def keep_freed_memory() -> None:
    """Have large blocks that are freed stay with the process, to be used again (mallopt(3)).

    By default glibc gives them back to the system at once, and gets them again page by page in the
    next step: 5 to 10 % of the time of training on a CPU. Other C libraries are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def look_past_what_is_there() -> None:
    """Have Python's search for garbage leave alone what there is now: libraries, most of all.

    It would look through all of it every few steps: 4 % of the time of training a small model on a CPU. It would also
    touch, and so copy, what processes share that are forked after this.
    """
    gc.collect()
    gc.freeze()
