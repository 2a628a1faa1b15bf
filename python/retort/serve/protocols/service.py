"""What all protocols of a server have in common: its models, and what becomes of a request."""

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from retort.core.errors import RetortError, shown
from retort.serve.engine.engine import (
    Done,
    EngineStopped,
    Expired,
    InferenceEngine,
    Load,
    NothingToRead,
    Overloaded,
    PredictionFailed,
    TooLong,
    TooMany,
)
from retort.serve.protocols import problem
from retort.serve.protocols.body import disconnected, unprocessable
from retort.serve.protocols.drain import Drain
from retort.serve.protocols.problem import Fault, Problem

AnswerT = TypeVar("AnswerT")

REFERENCE = "#/components/schemas/{model}"
"""How OpenAPI names the schema of a model."""
REFUSALS = (400, 408, 413, 415, 422, 429, 500, 503)
"""With which a request for a prediction may be refused."""
_LATER = {"retry-after": "1"}


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
class Told:
    """What is known of a model without asking it."""

    model: ServedModel
    is_alive: bool


@dataclass
class Compared:
    """How the answers of a model in the shadow of another differ from that one's, so far.

    Attributes:
        texts: that both have answered.
        labels: of these, to which they gave other labels.
        shift: the largest difference of a label's probability.
        failures: texts that the one in the shadow did not answer.
    """

    texts: int = 0
    labels: int = 0
    shift: float = 0.0
    failures: int = 0


@dataclass(frozen=True)
class Counts:
    """What a model does, and has done.

    Attributes:
        compared: with the one in its shadow, if there is one.
    """

    name: str
    seal: str
    load: Load
    done: Done
    compared: Compared | None = None


class Models(Protocol):
    """Models by their names.

    Attributes:
        default: the name of the one that answers where a protocol knows no names.
    """

    default: str

    @property
    def names(self) -> Collection[str]:
        """Of the models."""

    def told(self, name: str) -> Told:
        """
        Raises:
            KeyError: there is none of this name.
        """

    def counts(self) -> Iterable[Counts]:
        """Of each model."""

    def using(self, name: str) -> AbstractAsyncContextManager[Served]:
        """The model of a name, for one request.

        Raises:
            KeyError: there is none of this name.
            RetortError: it cannot be had at this moment.
        """


@dataclass(frozen=True)
class Service:
    """What is served, and how.

    Attributes:
        max_body: the largest body that is read, in bytes.
        answer_seconds: after which a request is given up.
    """

    models: Models
    drain: Drain
    max_body: int
    answer_seconds: float

    @property
    def is_ready(self) -> bool:
        """Whether requests should come here."""
        alive = (self.models.told(name).is_alive for name in self.models.names)
        return not self.drain.begun and all(alive)

    @property
    def first(self) -> Told:
        """The model that answers where a protocol knows no names."""
        return self.models.told(self.models.default)

    def named(self, name: str) -> Told:
        """
        Raises:
            Problem: 404, there is none of this name.
        """
        try:
            return self.models.told(name)
        except KeyError:
            raise _unknown(name) from None

    @asynccontextmanager
    async def using(self, name: str | None = None) -> AsyncIterator[Served]:
        """A model, for one request; the default one without a name.

        Raises:
            Problem: 404, there is none of this name; 503, it cannot be had at this moment.
        """
        async with AsyncExitStack() as stack:
            found = self.models.using(name or self.models.default)
            try:
                served = await stack.enter_async_context(found)
            except KeyError:
                raise _unknown(name or "") from None
            except RetortError as error:
                raise _unavailable(f"the model cannot be loaded: {error}") from error
            yield served

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
        except TooMany as error:
            status = HTTPStatus.TOO_MANY_REQUESTS
            raise Problem(status, f"{error}; try again later", headers=_LATER) from error
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


def _unknown(name: str) -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, f"there is no model {shown(name)} here")


def _unavailable(detail: str) -> Problem:
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=_LATER)
