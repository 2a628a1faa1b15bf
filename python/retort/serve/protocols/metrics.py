"""What a server does, in figures for Prometheus: `GET /metrics`.

The format is as the client library writes it (https://prometheus.io/docs/instrumenting/exposition_formats/).
"""

import re
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retort.serve.engine.engine import InferenceEngine

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "retort_serve"
_PATHS = frozenset(["/", "/predict", "/v1/predict"])
"""Whose requests are counted by name; what others write is not to become a name here."""
_INFER = re.compile(r"/v2/models/[^/]+(/versions/[^/]+)?/infer")
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """The figures of one server."""

    def __init__(self, engine: InferenceEngine) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_OfEngine(engine))
        self._requests = Counter(
            f"{_PREFIX}_requests",
            "Requests that were answered, by the status of the answer.",
            ("path", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            f"{_PREFIX}_request_seconds",
            "From when a request's head was read to when its answer was written.",
            ("path",),
            buckets=_SECONDS,
            registry=self._registry,
        )

    def text(self) -> bytes:
        """All of them."""
        return generate_latest(self._registry)

    def count(self, path: str, status: int, seconds: float) -> None:
        """Count an answer."""
        named = path if path in _PATHS else "/v2/infer" if _INFER.fullmatch(path) else "other"
        self._requests.labels(named, str(status)).inc()
        self._seconds.labels(named).observe(seconds)


class Counted:
    """An ASGI application whose answers are counted."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and count."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            self._metrics.count(scope["path"], status, time.perf_counter() - begun)


class _OfEngine(Collector):
    def __init__(self, engine: InferenceEngine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        load, done = self._engine.load, self._engine.done
        for name, value, what in (
            ("waiting_texts", load.texts + load.reading, "Texts that wait to be computed."),
            ("waiting_tokens", load.tokens, "Tokens of them."),
            ("workers", load.workers, "Processes that compute or could."),
            ("workers_computing", load.computing, "Processes that compute."),
        ):
            yield GaugeMetricFamily(f"{_PREFIX}_{name}", what, value)
        for name, value, what in (
            ("texts", done.texts, "Texts that were computed."),
            ("tokens", done.tokens, "Tokens of them."),
            ("batches", done.batches, "Times that texts were computed together."),
            ("truncated_texts", done.truncated, "Texts of which the model has read only a part."),
            ("known_texts", done.known, "Texts whose answer was kept in memory."),
            ("shared_texts", done.shared, "Texts whose answer was kept where servers share them."),
            ("missed_texts", done.missed, "Texts whose answer was kept nowhere."),
            ("store_failures", done.store_failures, "Times that the shared answers were away."),
            ("workers_lost", done.workers_lost, "Processes that died, or were ended as stuck."),
        ):
            yield CounterMetricFamily(f"{_PREFIX}_{name}", what, value)
