"""On which terms a request is answered, by what it says of itself."""

import time

import pytest
from fastapi import Request

from retort.serve.engine.engine import Priority
from retort.serve.protocols.terms import terms_of


def request(
    *headers: tuple[bytes, bytes], client: tuple[str, int] | None = ("192.0.2.7", 9)
) -> Request:
    return Request({"type": "http", "headers": list(headers), "client": client})


@pytest.mark.parametrize(
    ("said", "priority"),
    [
        ("u=0", Priority.NORMAL),  # nobody puts themselves before others
        ("u=3", Priority.NORMAL),
        ("u=4", Priority.LOW),
        ("i, u=7", Priority.LOW),
        ("u=5;x=1, i", Priority.LOW),
        ("u=8", Priority.NORMAL),
        ("uu=7", Priority.NORMAL),
        ("", Priority.NORMAL),
        ("x" * 9000, Priority.NORMAL),
    ],
)
def test_urgency_puts_a_request_behind_others_and_never_before_them(
    said: str, priority: Priority
) -> None:
    assert terms_of(request((b"priority", said.encode())), 5).priority == priority


def test_a_client_is_its_address_and_its_time_begins_now() -> None:
    before = time.monotonic()
    terms = terms_of(request(), 5)
    assert terms.client == "192.0.2.7"
    assert before + 5 <= terms.deadline <= time.monotonic() + 5
    assert terms_of(request(client=None), 5).client == ""
