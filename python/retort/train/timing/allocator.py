"""How memory is treated that is freed, or that stays."""

import ctypes
import gc

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


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

    It would look through all of it every few steps: 4 % of the time of training a small model on a CPU.
    """
    gc.collect()
    gc.freeze()
