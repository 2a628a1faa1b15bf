"""The process that starts the workers of a run on this machine, and ends when all have ended.

python -m retort.train.processes.agent LAUNCH_AS_JSON IMPORTS MODULE ARGUMENT...
"""

from retort.core.signals import starting

if __name__ == "__main__":
    starting()

import json
import os
from collections.abc import Sequence

from retort.core.cli import run
from retort.core.signals import nothing_begun
from retort.train.processes.environment import hosts_rendezvous
from retort.train.processes.launch import Launch, fork_workers


def main(arguments: Sequence[str]) -> int:
    """Run the workers that `retort.train.processes.launch.launch` asks for; return what to end with.

    Raises:
        UserError, PeerLost: as `retort.train.processes.elastic.run_workers`.
    """
    plan, imports, command = Launch(**json.loads(arguments[0])), arguments[1], arguments[2:]
    with fork_workers(imports):
        # PyTorch reads it when it is loaded. Its warnings hold C++ stacks, and its errors we tell.
        os.environ["TORCH_CPP_LOG_LEVEL"] = "FATAL"
        # Takes a second to import, in which the server imports what workers need.
        with nothing_begun():
            from retort.train.processes.elastic import run_workers

        return run_workers(plan, command, hosts_rendezvous(os.environ))


if __name__ == "__main__":
    run(main)
