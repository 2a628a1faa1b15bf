"""Run a module as a process that does not outlive the one that started it.

python -m retort.core.forks.parent_death PARENT_PROCESS [--quietly] MODULE ARGUMENT...
"""

import sys

from retort.core.signals import starting

if __name__ == "__main__":
    starting(quietly="--quietly" in sys.argv[2:3])

import ctypes
import gc
import os
import runpy
import signal

QUIETLY = "--quietly"
_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> bool:
    """Ask the kernel for SIGKILL when the parent ends; false if it has ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == parent


def main() -> None:
    """Be the module."""
    if not die_with(int(sys.argv[1])):
        sys.exit("error: the process that started this one has ended")
    sys.argv = sys.argv[3 if sys.argv[2] == QUIETLY else 2 :]
    module = sys.argv[0]
    gc.enable()  # the module may be anybody's
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
