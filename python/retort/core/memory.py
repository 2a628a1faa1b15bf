"""Memory that is free in this process, and not yet for others."""

import ctypes


def give_back_memory() -> None:
    """Return what was freed to the system, where the C library knows how (glibc, malloc_trim(3)).

    Worth it after something large that was needed once: by itself the library keeps it for later.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
