"""What all protocols of a server have in common: its models, and what becomes of a request."""

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from retort.core.errors import shown
from retort.serve.engine.engine import (
    EngineStopped,
    Expired,
    InferenceEngine,
    NothingToRead,
    Overloaded,
    PredictionFailed,
    TooLong,
)
from retort.serve.protocols import problem
from retort.serve.protocols.body import disconnected, unprocessable
from retort.serve.protocols.drain import Drain
from retort.serve.protocols.problem import Fault, Problem

AnswerT = TypeVar("AnswerT")

REFERENCE = "#/components/schemas/{model}"
"""How OpenAPI names the schema of a model."""
REFUSALS = (400, 408, 413, 415, 422, 500, 503)
"""With which a request for a prediction may be refused."""


@dataclass(frozen=True)
class ServedModel:
    """What the server says about a model behind it."""

    seal: str
    labels: tuple[str, ...]
    precision: str = "float32"


@dataclass(frozen=True)
class Served:
    """A model, and what answers by it."""

    model: ServedModel
    engine: InferenceEngine


@dataclass(frozen=True)
class Service:
    """What is served, and how.

    Attributes:
        models: by their names.
        default: the name of the one that answers where a protocol knows no names.
        max_body: the largest body that is read, in bytes.
        answer_seconds: after which a request is given up.
    """

    models: Mapping[str, Served]
    default: str
    drain: Drain
    max_body: int
    answer_seconds: float

    @property
    def first(self) -> Served:
        """The one that answers where a protocol knows no names."""
        return self.models[self.default]

    @property
    def is_ready(self) -> bool:
        """Whether requests should come here."""
        return not self.drain.begun and all(one.engine.is_alive() for one in self.models.values())

    def named(self, name: str) -> Served:
        """
        Raises:
            Problem: 404, there is none of this name.
        """
        found = self.models.get(name)
        if found is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"there is no model {shown(name)} here")
        return found

    @contextmanager
    def answering(self, pointer: str = "#/text") -> Iterator[None]:
        """Have whatever an engine raises told to the client.

        Args:
            pointer: to the text, in the body.
        """
        try:
            yield
        except Overloaded as error:
            raise _unavailable(f"{error}; try again later") from error
        except (EngineStopped, Expired) as error:
            raise _unavailable(str(error)) from error
        except (NothingToRead, TooLong) as error:
            fault = Fault(pointer=pointer, detail=str(error))
            raise unprocessable([fault]) from error
        except PredictionFailed as error:
            raise Problem(HTTPStatus.INTERNAL_SERVER_ERROR, str(error)) from error
        except asyncio.CancelledError as error:
            self.drain.cut_off += 1
            raise _unavailable("the server ended before it could answer") from error


async def unless_gone(request: Request, computation: Coroutine[Any, Any, AnswerT]) -> AnswerT:
    """Wait for an answer as long as there is someone to read it.

    Raises:
        ClientDisconnect: there is nobody.
    """
    answer = asyncio.ensure_future(computation)
    gone = asyncio.ensure_future(disconnected(request.receive))
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        answer.cancel()
        gone.cancel()


def described_body(model: str) -> dict[str, Any]:
    """How OpenAPI describes a body that we read ourselves."""
    schema = {"$ref": REFERENCE.format(model=model)}
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How OpenAPI describes refusals."""
    schema = {"$ref": REFERENCE.format(model="ProblemDetails")}
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {problem.MEDIA_TYPE: {"schema": schema}},
        }
        for status in statuses
    }


def _unavailable(detail: str) -> Problem:
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"retry-after": "1"})
