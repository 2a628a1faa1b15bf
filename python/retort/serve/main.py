"""`//serve`: checkpoints behind HTTP."""

from retort.core.signals import starting

if __name__ == "__main__":
    starting()

import asyncio
from collections.abc import Sequence

from retort.core.cli import Invocation, run
from retort.core.errors import RetortError
from retort.core.signals import nothing_begun
from retort.serve.engine.start import Begun, Start
from retort.serve.listening import bind, possible_connections
from retort.serve.options import QUEUE, parse

_LEAST_QUEUE = 64
_SEVERAL = 8
"""Models for which there are files, where nobody knows yet how many there will be."""
_SPARE_CONNECTIONS = 2  # as `possible_connections` keeps


class RequestsCutOff(RetortError):
    """The server ended before it had answered everything that it had begun."""


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM, SIGHUP or Ctrl-C, then finish what has begun. Returns 0."""
    options = parse(arguments)
    options.connections = possible_connections(
        options.connections,
        options.queue or _LEAST_QUEUE,
        options.workers,
        1 if options.models is None else _SEVERAL,
    )
    options.queue = options.queue or min(QUEUE, options.connections - _SPARE_CONNECTIONS)
    resolve = Invocation.from_environment().resolve
    bound = bind(options.host, options.port)
    begun: list[Begun] = []
    if options.checkpoint is not None:
        start = Start(resolve(options.checkpoint), options.workers, options.precision)
        begun.append(start.begin(options.seal))
    try:
        with nothing_begun():  # while that imports, this does
            from retort.serve.protocols.drain import Drain
            from retort.serve.serving import serve

        drain = Drain()
        file = None if options.models is None else resolve(options.models)
        asyncio.run(serve(options, bound, drain, begun, file))
    finally:
        for one in begun:
            one.process.kill()
    if drain.cut_off:
        requests = "1 request was" if drain.cut_off == 1 else f"{drain.cut_off} requests were"
        raise RequestsCutOff(f"ended before {requests} answered")
    return 0


if __name__ == "__main__":
    run(main)
