"""The figures of a run at an address, for Prometheus: `http://HOST:PORT/metrics`.

The format is Prometheus' and OpenMetrics', as the client library writes them
(https://prometheus.io/docs/instrumenting/exposition_formats/).
"""

import errno
import logging
import time
from collections.abc import Mapping

from retort.core.errors import UserError
from retort.train.observe.observer import Observer
from retort.train.observe.step import Step
from retort.train.observe.timings import Timing

_log = logging.getLogger(__name__)


class MetricsEndpoint(Observer):
    """What the last step came to, when it was made, and how fast the last ones were.

    Steps are the same on every rank, so one process of each machine can tell them; speed, shares
    and memory are this process's own.
    """

    def __init__(self, port: int, *, total: int, done: int) -> None:
        """Listen at this port of every address of the machine, as whoever asks is on another; 0: at one that is free.

        Args:
            total: the number of the last step.
            done: the step that the run goes on after.
        Raises:
            UserError: the port cannot be had.
        """
        # It loads an HTTP server, which most runs have no use for.
        from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

        registry = CollectorRegistry()

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(f"retort_train_{name}", what, labels, registry=registry)

        self._number = gauge("step", "The last step that was made.")
        self._when = gauge("last_step_timestamp_seconds", "When it was made, in Unix time.")
        self._loss = gauge("loss", "Loss of the last step.")
        self._lr = gauge("learning_rate", "Learning rate of the last step.")
        self._norm = gauge("gradient_norm", "Norm of its gradient before clipping.")
        self._samples = Counter(
            "retort_train_samples",
            "Texts of all processes since this one began.",
            registry=registry,
        )
        self._tokens = Counter(
            "retort_train_tokens", "Tokens of them, without padding.", registry=registry
        )
        self._rates = {
            "samples_per_second": gauge("samples_per_second", "Of all processes, of late."),
            "tokens_per_second": gauge("tokens_per_second", "Of all processes, of late."),
            "mfu": gauge("mfu_ratio", "Model FLOPs of all by the peak of their devices, of late."),
            "memory_bytes": gauge("memory_bytes", "Main memory of this process, at most."),
            "device_memory_bytes": gauge("device_memory_bytes", "Tensors on its GPU, at most."),
        }
        self._shares = gauge("time_share_ratio", "Of the time, of late, by phase.", "phase")
        self._figures = gauge("evaluation", "Of the last evaluation, by figure.", "figure")
        gauge("steps", "Steps of the whole run.").set(total)
        self._number.set(done)
        try:
            self._server, self._thread = start_http_server(port, registry=registry)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            raise UserError(
                f"--metrics-port {port}: {'is in use' if taken else error.strerror}; choose another"
            ) from error
        _log.info("metrics: http://127.0.0.1:%d/metrics", self._server.server_port)

    def step(self, step: Step) -> None:
        """As `Observer.step`."""
        self._number.set(step.number)
        self._when.set(time.time())
        self._loss.set(step.loss)
        self._lr.set(step.lr)
        self._norm.set(step.gradient_norm)
        self._samples.inc(step.samples)
        self._tokens.inc(step.tokens)

    def timing(self, timing: Timing) -> None:
        """As `Observer.timing`."""
        for name, gauge in self._rates.items():
            gauge.set(getattr(timing, name))
        for phase, share in timing.shares.items():
            self._shares.labels(phase).set(share)

    def evaluation(self, number: int, metrics: Mapping[str, float]) -> None:
        """As `Observer.evaluation`."""
        for figure, value in metrics.items():
            self._figures.labels(figure).set(value)

    def close(self) -> None:
        """Listen no longer."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
