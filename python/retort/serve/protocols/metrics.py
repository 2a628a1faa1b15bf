"""What a server does, in figures for Prometheus: `GET /metrics`.

The format is as the client library writes it (https://prometheus.io/docs/instrumenting/exposition_formats/).
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retort.serve.engine.engine import Done, Load
from retort.serve.protocols.service import Compared, Counts, Models

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "retort_serve"
_PATHS = frozenset(["/", "/predict", "/v1/predict"])
"""Whose requests are counted by name; what others write is not to become a name here."""
_INFER = re.compile(r"/v2/models/[^/]+(/versions/[^/]+)?/infer")
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_LABELS = ("model", "seal")
_GAUGES: tuple[tuple[str, str, Callable[[Load], int]], ...] = (
    ("waiting_texts", "Texts that wait to be computed.", lambda load: load.texts + load.reading),
    ("waiting_tokens", "Tokens of them.", lambda load: load.tokens),
    ("workers", "Processes that compute or could.", lambda load: load.workers),
    ("workers_computing", "Processes that compute.", lambda load: load.computing),
)
_COUNTERS: tuple[tuple[str, str, Callable[[Done], int]], ...] = (
    ("texts", "Texts that were computed.", lambda done: done.texts),
    ("tokens", "Tokens of them.", lambda done: done.tokens),
    ("batches", "Times that texts were computed together.", lambda done: done.batches),
    ("truncated_texts", "Texts of which only a part was read.", lambda done: done.truncated),
    ("known_texts", "Texts whose answer was kept in memory.", lambda done: done.known),
    ("shared_texts", "Texts whose answer servers share.", lambda done: done.shared),
    ("missed_texts", "Texts whose answer was kept nowhere.", lambda done: done.missed),
    ("store_failures", "Times that shared answers were away.", lambda done: done.store_failures),
    ("workers_lost", "Processes that died, or were stuck.", lambda done: done.workers_lost),
)
_COMPARED: tuple[tuple[str, str, Callable[[Compared], int]], ...] = (
    ("shadow_texts", "Texts that a model and its shadow answered.", lambda one: one.texts),
    ("shadow_other_labels", "To which they gave other labels.", lambda one: one.labels),
    ("shadow_failures", "That the shadow did not answer.", lambda one: one.failures),
)


class Metrics:
    """The figures of one server."""

    def __init__(self, models: Models) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_OfModels(models))
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


class _OfModels(Collector):
    def __init__(self, models: Models) -> None:
        self._models = models

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        found = list(self._models.counts())
        for name, what, read in _GAUGES:
            gauge = GaugeMetricFamily(f"{_PREFIX}_{name}", what, labels=_LABELS)
            for one in found:
                gauge.add_metric([one.name, one.seal], read(one.load))
            yield gauge
        for name, what, count in _COUNTERS:
            counter = CounterMetricFamily(f"{_PREFIX}_{name}", what, labels=_LABELS)
            for one in found:
                counter.add_metric([one.name, one.seal], count(one.done))
            yield counter
        yield from _of_shadows(found)


def _of_shadows(found: Sequence[Counts]) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
    compared = [([one.name, one.seal], one.compared) for one in found if one.compared is not None]
    for name, what, count in _COMPARED:
        counter = CounterMetricFamily(f"{_PREFIX}_{name}", what, labels=_LABELS)
        for labels, one in compared:
            counter.add_metric(labels, count(one))
        yield counter
    shift = GaugeMetricFamily(
        f"{_PREFIX}_shadow_largest_shift",
        "Largest difference of a label's probability in the shadow.",
        labels=_LABELS,
    )
    for labels, one in compared:
        shift.add_metric(labels, one.shift)
    yield shift
