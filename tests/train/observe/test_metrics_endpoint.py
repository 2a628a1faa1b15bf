"""What Prometheus reads of a run."""

import logging
import re
import socket
import time
from collections.abc import Iterator
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from retort.core.errors import UserError
from retort.train.observe.metrics_endpoint import MetricsEndpoint
from retort.train.observe.step import Step
from retort.train.observe.timings import OTHER, Timing

TIMING = Timing(
    step=4,
    steps=2,
    seconds=2.0,
    samples_per_second=40.0,
    tokens_per_second=400.0,
    mfu=0.5,
    memory_bytes=100,
    device_memory_bytes=7,
    shares={"compute": 0.75, OTHER: 0.25},
)


@pytest.fixture
def endpoint(caplog: pytest.LogCaptureFixture) -> Iterator[tuple[MetricsEndpoint, str]]:
    with caplog.at_level(logging.INFO):
        made = MetricsEndpoint(0, total=9, done=2)
    found = re.search(r"metrics: (http://127\.0\.0\.1:\d+/metrics)", caplog.text)
    assert found
    yield made, found[1]
    made.close()


def read(address: str) -> dict[tuple[str, ...], float]:
    """Values by the name and the values of its labels."""
    with urlopen(address) as answer:
        text = answer.read().decode()
    return {
        (one.name, *one.labels.values()): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if not one.name.endswith("_created")
    }


def test_the_figures_are_those_that_were_told(endpoint: tuple[MetricsEndpoint, str]) -> None:
    made, address = endpoint
    before = read(address)
    assert before["retort_train_step",] == 2
    assert before["retort_train_steps",] == 9
    assert before["retort_train_last_step_timestamp_seconds",] == 0
    began = time.time()
    for number in (3, 4):
        made.step(Step(number, 1 / number, (1 / number,), 0.125, 2.5, samples=8, tokens=80))
    made.timing(TIMING)
    made.evaluation(4, {"accuracy": 0.75, "loss": 0.5})
    now = read(address)
    assert began <= now.pop(("retort_train_last_step_timestamp_seconds",)) <= time.time()
    assert now == {
        ("retort_train_step",): 4,
        ("retort_train_steps",): 9,
        ("retort_train_loss",): 0.25,
        ("retort_train_learning_rate",): 0.125,
        ("retort_train_gradient_norm",): 2.5,
        ("retort_train_samples_total",): 16,
        ("retort_train_tokens_total",): 160,
        ("retort_train_samples_per_second",): 40,
        ("retort_train_tokens_per_second",): 400,
        ("retort_train_mfu_ratio",): 0.5,
        ("retort_train_memory_bytes",): 100,
        ("retort_train_device_memory_bytes",): 7,
        ("retort_train_time_share_ratio", "compute"): 0.75,
        ("retort_train_time_share_ratio", OTHER): 0.25,
        ("retort_train_evaluation", "accuracy"): 0.75,
        ("retort_train_evaluation", "loss"): 0.5,
    }


def test_nobody_listens_after_the_end(endpoint: tuple[MetricsEndpoint, str]) -> None:
    made, address = endpoint
    made.close()
    with pytest.raises(URLError, match="refused"):
        read(address)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"^--metrics-port {port}: is in use; choose another$"):
            MetricsEndpoint(port, total=1, done=0)
