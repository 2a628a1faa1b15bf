"""`//serve`: a checkpoint behind HTTP."""

from retort.core.signals import starting

if __name__ == "__main__":
    starting()

import argparse
import asyncio
import json
import logging
import os
import shlex
import signal
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from retort.core.cli import Arguments, Invocation, port, positive, run
from retort.core.errors import RetortError, UserError
from retort.core.machine import processors
from retort.core.signals import nothing_begun
from retort.serve.engine.start import Start
from retort.serve.listening import bind, listen, possible_connections, url

if TYPE_CHECKING:
    from retort.core.forks.client import Process
    from retort.models.description import ClassifierDescription
    from retort.serve.engine.engine import Done
    from retort.serve.engine.shared_answers import SharedAnswers
    from retort.serve.protocols.drain import Drain

_log = logging.getLogger("retort.serve")
_EXAMPLE = "Shares rose after the bank cut its rates"
_LONGEST_SECONDS = 86400
_QUEUE, _LEAST_QUEUE = 256, 64
_REDIS = "RETORT_REDIS"
_SPARE_CONNECTIONS = 2  # as `possible_connections` keeps


class RequestsCutOff(RetortError):
    """The server ended before it had answered everything that it had begun."""


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM, SIGHUP or Ctrl-C, then finish what has begun. Returns 0."""
    options = _parse(arguments)
    options.connections = possible_connections(options.connections, options.queue or _LEAST_QUEUE)
    options.queue = options.queue or min(_QUEUE, options.connections - _SPARE_CONNECTIONS)
    bound = bind(options.host, options.port)
    start = Start(
        Invocation.from_environment().resolve(options.checkpoint),
        options.workers,
        options.precision,
    )
    process = start.start(options.seal)
    try:
        with nothing_begun():  # while that imports, this does
            from retort.models.arithmetic_variables import refuse_arithmetic_variables
            from retort.models.description import describe_classifier
            from retort.serve.protocols.drain import Drain
        model = describe_classifier(start.checkpoint, options.seal)
        if model.arithmetic == "native":
            refuse_arithmetic_variables(os.environ)
        drain = Drain()
        asyncio.run(_serve(options, model, bound, (start, process), drain))
    finally:
        process.kill()
    if drain.cut_off:
        requests = "1 request was" if drain.cut_off == 1 else f"{drain.cut_off} requests were"
        raise RequestsCutOff(f"ended before {requests} answered")
    return 0


async def _serve(
    options: argparse.Namespace,
    model: "ClassifierDescription",
    bound: socket.socket,
    begun: "tuple[Start, Process]",
    drain: "Drain",
) -> None:
    from retort.serve.engine.batching import BatchingEngine, Settings
    from retort.serve.engine.cache import AnswerCache
    from retort.serve.engine.engine import Done
    from retort.serve.engine.workers import ModelProcesses
    from retort.serve.protocols.app import create_app
    from retort.serve.protocols.connection import Limits
    from retort.serve.protocols.service import Served, ServedModel, Service
    from retort.serve.server import DrainingServer

    settings = Settings(
        readers=options.workers,
        queue_texts=options.queue,
        # In native arithmetic a text is computed alone anyway.
        batch_tokens=options.batch_tokens if model.arithmetic == "portable" else 1,
        cut=not options.refuse_long,
        patience=options.stuck_seconds,
    )
    limits = Limits(options.connections, options.receive_seconds, options.idle_seconds)
    precision = options.precision or model.precision
    done = Done()
    shared = _shared_answers(options, done)
    what = f"{model.sealed.seal} {precision}"
    cache = AnswerCache(what, len(model.labels), options.cache, done, shared)
    thresholds = model.calibration.thresholds
    engine = BatchingEngine(model.tokenise, model.labels, settings, thresholds, cache)
    async with ModelProcesses(*begun, model.sealed.seal, engine.serve):
        listen(bound)
        served = ServedModel(model.sealed.seal, model.labels, precision)
        models = {options.name: Served(served, engine)}
        service = Service(models, options.name, drain, options.max_body, options.answer_seconds)

        def say_ready() -> None:
            address = url(bound)
            _log.info("ready: %s serves %s; try: %s", address, served.seal, _curl(address))

        server = DrainingServer(
            create_app(service),
            drain,
            limits,
            drain_seconds=options.drain_seconds,
            finish_seconds=options.finish_seconds,
            on_ready=say_ready,
        )
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signal.signal(signal.SIGHUP, server.handle_exit)
        try:
            await server.serve([bound])
        finally:
            engine.close()
            if shared is not None:
                await shared.close()


def _shared_answers(options: argparse.Namespace, done: "Done") -> "SharedAnswers | None":
    """
    Raises:
        UserError: the address is none of a Redis.
    """
    if options.redis is None or options.cache == 0:
        return None
    from retort.serve.engine.shared_answers import RedisStore, SharedAnswers, without_password

    try:
        store = RedisStore(options.redis, options.redis_keep_seconds)
    except ValueError as error:
        raise UserError(f"--redis: {error}") from error
    return SharedAnswers(store, without_password(options.redis), done)


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
    parser.add_argument(
        "--name",
        default="classifier",
        help="of the model, where a protocol has names (%(default)s)",
    )
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
        metavar="N",
        help=f"texts that may wait for the model before others are refused ({_QUEUE}, or as many as connections allow)",
    )
    parser.add_argument(
        "--workers",
        type=positive,
        default=processors(),
        metavar="N",
        help="processes that compute, each on one processor (%(default)s)",
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "int8"),
        help="of the factors of products: the checkpoint's own by default; bfloat16 rounds those of one in float32, "
        "which is faster where the processor knows it; int8 is for what //serve:export made",
    )
    parser.add_argument(
        "--batch-tokens",
        type=positive,
        default=384,
        metavar="N",
        help="tokens that a process computes together (%(default)s)",
    )
    parser.add_argument(
        "--cache",
        type=_count,
        default=4096,
        metavar="N",
        help="answers that are kept and not computed again; 0 keeps none (%(default)s)",
    )
    parser.add_argument(
        "--redis",
        default=os.environ.get(_REDIS),
        metavar="URL",
        help=f"a Redis behind them, which servers share: redis://, rediss:// or unix:// (what {_REDIS} says)",
    )
    parser.add_argument(
        "--refuse-long",
        action="store_true",
        help="refuse texts that are too long for the model, which are cut otherwise",
    )
    parser.add_argument(
        "--max-body",
        type=positive,
        default=262144,
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
        ("answer", 30, "how long a request may take, from when it was read, before it is given up"),
        ("stuck", 60, "how long a process may be at one batch before it is ended"),
        ("redis-keep", 86400, "after how long Redis is to forget an answer"),
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


def _count(text: str) -> int:
    return 0 if text == "0" else positive(text)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= _LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} is not 0 to {_LONGEST_SECONDS} seconds")
    return seconds


if __name__ == "__main__":
    run(main)
