"""A server from its models to its last answer."""

import argparse
import json
import logging
import shlex
import signal
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from retort.core.errors import UserError
from retort.serve.engine.batching import Settings
from retort.serve.engine.start import Begun
from retort.serve.listening import listen, url
from retort.serve.models.catalogue import Catalogue, Named
from retort.serve.models.loading import LoadedModel, Loading, Version, load
from retort.serve.protocols.app import create_app
from retort.serve.protocols.connection import Limits
from retort.serve.protocols.drain import Drain
from retort.serve.protocols.service import Service
from retort.serve.server import DrainingServer

_log = logging.getLogger("retort.serve")
_EXAMPLE = "Shares rose after the bank cut its rates"


async def serve(
    options: argparse.Namespace,
    bound: socket.socket,
    drain: Drain,
    begun: Sequence[Begun],
    file: Path | None,
) -> None:
    """Serve until a signal ends it.

    Args:
        bound: where.
        begun: the process of the only model.
        file: names the models, if there may be several.
    Raises:
        UserError: a model cannot be served.
    """
    async with AsyncExitStack() as stack:
        loading = Loading(_settings(options), options.workers, options.cache)
        if options.redis is not None and options.cache:
            from retort.serve.engine.shared_answers import redis_store

            try:
                store, name = redis_store(options.redis, options.redis_keep_seconds)
            except ValueError as error:
                raise UserError(f"--redis: {error}") from error
            stack.push_async_callback(store.close)
            loading = Loading(loading.settings, loading.workers, loading.cache, (store, name))
        if file is None:
            version = Version(begun[0].start.checkpoint, options.seal, options.precision)
            models = Catalogue(partial(_loaded, loading, version, begun[0]))
            stack.push_async_callback(models.close)
            await models.change({options.name: Named(version)}, options.name)
        else:
            from retort.serve.models.watching import read, watching

            wanted = read(file)
            models = Catalogue(partial(_loaded, loading, None, None), wanted.memory)
            stack.push_async_callback(models.close)
            await models.change(wanted.named(), wanted.first)
            await stack.enter_async_context(watching(file, models))
        listen(bound)
        await _answer(options, bound, drain, models)


async def _loaded(
    loading: Loading, first: Version | None, begun: Begun | None, version: Version
) -> LoadedModel:
    """A model, whose process has begun already if it is the first."""
    return await load(version, loading, begun if version == first else None)


async def _answer(
    options: argparse.Namespace, bound: socket.socket, drain: Drain, models: Catalogue
) -> None:
    service = Service(models, drain, options.max_body, options.answer_seconds)

    def say_ready() -> None:
        address = url(bound)
        what = ", ".join(
            models.told(name).model.seal if len(models.names) == 1 else name
            for name in models.names
        )
        _log.info("ready: %s serves %s; try: %s", address, what, _curl(address))

    server = DrainingServer(
        create_app(service),
        drain,
        Limits(options.connections, options.receive_seconds, options.idle_seconds),
        drain_seconds=options.drain_seconds,
        finish_seconds=options.finish_seconds,
        on_ready=say_ready,
    )
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, server.handle_exit)
    await server.serve([bound])


def _settings(options: argparse.Namespace) -> Settings:
    return Settings(
        readers=options.workers,
        queue_texts=options.queue,
        client_texts=options.client_texts,
        batch_tokens=options.batch_tokens,
        cut=not options.refuse_long,
        patience=options.stuck_seconds,
    )


def _curl(address: str) -> str:
    body = shlex.quote(json.dumps({"text": _EXAMPLE}))
    return f"curl -sS {address}/predict -H 'content-type: application/json' -d {body}"
