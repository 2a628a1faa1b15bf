"""For commands of a shell: python -m tests.processes.with_forks serve MODULE,... COMMAND ... | run MODULE ...

`serve` runs a command while a fork server has imported modules, `run` a module that it forks.
"""

import subprocess
import sys

from retort.core.forks.client import start
from retort.train.processes.launch import fork_workers

if __name__ == "__main__":
    what, modules, *rest = sys.argv[1:]
    if what == "serve":
        with fork_workers(*modules.split(",")):
            sys.exit(subprocess.run(rest, check=False).returncode)
    sys.exit(start([modules, *rest]).wait())
