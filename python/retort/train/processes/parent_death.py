"""Run a module as a worker that does not outlive the process that started it.

When both are asked to stop, the words are the other's.

python -m retort.train.processes.parent_death PARENT_PROCESS MODULE ARGUMENT...
"""

from retort.core.signals import starting

if __name__ == "__main__":
    starting(quietly=True)

import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel for SIGKILL when the parent ends, then be the module."""
    parent, module = int(sys.argv[1]), sys.argv[2]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("error: the process that started this worker has ended")
    sys.argv = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
