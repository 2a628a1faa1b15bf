"""The process that has the model, and forks those that compute by it.

python -m retort.serve.engine.model_process ADDRESS CHECKPOINT WORKERS PRECISION [SEAL]

All see the same weights in memory, and a worker that dies is replaced in milliseconds. Each connects to ADDRESS, an
abstract one of a socket of the server's; so does this process if the model cannot be served, to say why.
"""

from retort.core.signals import starting

if __name__ == "__main__":
    starting(quietly=True)

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import torch

from retort.core.errors import RetortError
from retort.core.forks.parent_death import die_with
from retort.core.machine import give_back_memory, look_past_what_is_there
from retort.models.arithmetic import is_portable
from retort.models.checkpoint import Checkpoint, load_checkpoint
from retort.models.config import PrecisionName
from retort.models.determinism import fix_arithmetic, spread_over
from retort.serve.engine.computation import hold, probabilities, self_test
from retort.serve.engine.frames import Frame, batch_of, of_probabilities, receive_now
from retort.serve.engine.start import AS_SEALED

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_SETTLED_SECONDS = 10.0
"""A worker that has lived so long did not die of what it was born with."""


def main(arguments: Sequence[str]) -> int:
    """Load, say so, and keep so many workers alive until the server ends."""
    address, path, count, precision, *seal = arguments
    # The libraries' own threads would not live in forked processes, and what waits for them would wait for ever.
    torch.set_num_threads(1)
    try:
        checkpoint = load_checkpoint(Path(path), seal[0] if seal else None)
        portable = is_portable(checkpoint.model)
        fix_arithmetic(1, portable=portable)
        # Here, so that all workers have one copy.
        hold(checkpoint, None if precision == AS_SEALED else cast("PrecisionName", precision))
        self_test(checkpoint)
    except (RetortError, MemoryError) as error:
        with _connected(address) as server:
            server.sendall(Frame({"refused": str(error) or "there is not enough memory"}).bytes())
        return 2
    look_past_what_is_there()
    give_back_memory()
    threads = 1 if portable else checkpoint.threads
    # So many threads have as many processors, whichever process they are in.
    return _keep(max(1, int(count) // threads), lambda: _work(checkpoint, address, threads))


def _keep(count: int, work: Callable[[], None]) -> int:
    """Fork, and fork again whenever one has ended; only a signal ends this."""
    born: dict[int, float] = {}
    pause = 0.0
    me = os.getpid()
    while True:
        while len(born) < count:
            time.sleep(pause)
            number = os.fork()
            if number == 0:
                try:
                    if die_with(me):
                        work()
                finally:
                    os._exit(0)
            born[number] = time.monotonic()
        number, _ = os.wait()
        lived = time.monotonic() - born.pop(number)
        pause = (
            0.0
            if lived > _SETTLED_SECONDS
            else min(max(_FIRST_PAUSE_SECONDS, 2 * pause), _LONGEST_PAUSE_SECONDS)
        )


def _work(checkpoint: Checkpoint, address: str, threads: int) -> None:
    """Answer batch after batch until the server closes the connection."""
    portable = is_portable(checkpoint.model)
    fix_arithmetic(threads, portable=portable)
    with _connected(address) as connection:
        connection.sendall(Frame({"seal": checkpoint.sealed.seal}).bytes())
        while True:
            try:
                frame = receive_now(connection)
            except (EOFError, OSError):
                return
            ids, lengths = batch_of(frame)
            if portable:
                spread_over(frame.said["threads"])
            connection.sendall(of_probabilities(probabilities(checkpoint, ids, lengths)).bytes())


def _connected(address: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(f"\0{address}")
    return connection


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(main(sys.argv[1:]))
