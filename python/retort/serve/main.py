"""`//serve`: a checkpoint behind HTTP."""

from retort.core.signals import starting

if __name__ == "__main__":
    starting()

import argparse
import json
import logging
import os
import shlex
import signal
from collections.abc import Sequence

from retort.core.cli import Arguments, Invocation, port, positive, run
from retort.core.errors import RetortError
from retort.models.arithmetic import is_portable
from retort.models.arithmetic_variables import refuse_arithmetic_variables
from retort.models.checkpoint import Checkpoint, load_checkpoint
from retort.models.determinism import fix_arithmetic
from retort.models.predict import predict
from retort.serve.engine.single import WorkerEngine
from retort.serve.protocols.connection import Limits
from retort.serve.protocols.drain import Drain
from retort.serve.protocols.predict import ServedModel, create_app
from retort.serve.server import DrainingServer, bind, listen, possible_connections, url

_log = logging.getLogger("retort.serve")
_EXAMPLE = "Shares rose after the bank cut its rates"
_CLOSE_SECONDS = 2.0
_LONGEST_SECONDS = 86400


class RequestsCutOff(RetortError):
    """The server ended before it had answered everything that it had begun."""


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM, SIGHUP or Ctrl-C, then finish what has begun. Returns 0."""
    options = _parse(arguments)
    limits = Limits(
        possible_connections(options.connections, options.queue),
        options.receive_seconds,
        options.idle_seconds,
    )
    bound = bind(options.host, options.port)
    invocation = Invocation.from_environment()
    checkpoint = load_checkpoint(invocation.resolve(options.checkpoint), options.seal)
    if not is_portable(checkpoint.model):
        refuse_arithmetic_variables(os.environ)
    listen(bound)

    model = ServedModel(checkpoint.sealed.seal, checkpoint.labels)
    drain = Drain()
    engine = _start(checkpoint, options.queue)
    app = create_app(engine, model, drain, max_body=options.max_body)

    def say_ready() -> None:
        _log.info("ready: %s serves %s; try: %s", url(bound), model.seal, _curl(url(bound)))

    server = DrainingServer(
        app,
        drain,
        limits,
        drain_seconds=options.drain_seconds,
        finish_seconds=options.finish_seconds,
        on_ready=say_ready,
    )
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, server.handle_exit)
    try:
        server.run([bound])
    finally:
        engine.close(_CLOSE_SECONDS)
    if drain.cut_off:
        requests = "1 request was" if drain.cut_off == 1 else f"{drain.cut_off} requests were"
        raise RequestsCutOff(f"ended before {requests} answered")
    return 0


def _start(checkpoint: Checkpoint, queue_size: int) -> WorkerEngine:
    return WorkerEngine(
        prepare=lambda: fix_arithmetic(checkpoint.threads, portable=is_portable(checkpoint.model)),
        predict=lambda text: predict(checkpoint, [text])[0],
        queue_size=queue_size,
    )


def _curl(address: str) -> str:
    body = shlex.quote(json.dumps({"text": _EXAMPLE}))
    return f"curl -sS {address}/predict -H 'content-type: application/json' -d {body}"


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Arguments(
        prog="serve",
        description="Serve a checkpoint: POST /predict, GET /health and GET /ready.",
        allow_abbrev=False,
    )
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="a sealed checkpoint")
    parser.add_argument("--seal", metavar="SEAL", help="the seal that it must have, sha256:…")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port",
        type=port,
        default=8000,
        help="port to listen on; 0 takes a free one (%(default)s)",
    )
    parser.add_argument(
        "--queue",
        type=positive,
        default=64,
        metavar="N",
        help="requests that may wait for the model before others are refused (%(default)s)",
    )
    parser.add_argument(
        "--max-body",
        type=positive,
        default=65536,
        metavar="BYTES",
        help="largest body of a request (%(default)s)",
    )
    parser.add_argument(
        "--connections",
        type=positive,
        default=512,
        metavar="N",
        help="connections at once; with one more, the slowest client gives way (%(default)s)",
    )
    for name, default, what in (
        ("receive", 10, "how long a client may take to send a request, or to read an answer"),
        ("idle", 5, "how long a connection stays open between requests"),
        ("drain", 5, "how long after SIGTERM new requests are answered while /ready says 503"),
        ("finish", 20, "how long what has begun may take after that, or after Ctrl-C"),
    ):
        parser.add_argument(
            f"--{name}-seconds",
            type=_seconds,
            default=default,
            metavar="S",
            help=f"{what} (%(default)s)",
        )
    return parser.parse_args(arguments)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= _LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} is not 0 to {_LONGEST_SECONDS} seconds")
    return seconds


if __name__ == "__main__":
    run(main)
