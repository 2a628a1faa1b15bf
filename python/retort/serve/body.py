"""Reading a request's JSON body, never holding more of it than allowed."""

import asyncio
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import quote

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.types import Message, Receive, Scope, Send

from retort.serve.problem import Fault, Problem, ProblemResponse

_LINGER_BYTES = 1 << 20
_LINGER_SECONDS = 5.0

Model = TypeVar("Model", bound=BaseModel)


class TooLarge(Problem):
    """The body is larger than allowed; the rest of it has not been read."""


class TooLargeResponse(ProblemResponse):
    """A refusal that the client gets to read.

    A connection closed with unread bytes in it is reset, which can destroy the answer on its way.
    So the answer goes out at once, then a bounded part of what still comes is thrown away, and
    then the connection closes.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_linger(message: Message) -> None:
            if message["type"] == "http.response.body":
                await send({**message, "more_body": True})
                await _discard(receive)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await super().__call__(scope, receive, send_and_linger)


async def read_json(request: Request, model: type[Model], limit: int) -> Model:
    """The body of a request, at most `limit` bytes of JSON, as a `model`.

    Raises:
        Problem: 400 not JSON, 413 too large, 415 not called JSON, 422 not a `model`.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"the content type is {content_type or 'missing'}; send content-type: application/json",
        )
    body = await _read(request, limit)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        if faults[0]["type"] == "json_invalid":
            raise Problem(
                HTTPStatus.BAD_REQUEST, f"the body is not JSON: {faults[0]['msg']}"
            ) from None
        places = [Fault(pointer=_pointer(fault["loc"]), detail=fault["msg"]) for fault in faults]
        summary = "; ".join(f"{place.pointer}: {place.detail}" for place in places)
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, summary, faults=places) from None


async def disconnected(receive: Receive) -> None:
    """Return when the client is gone. Call it once the body has been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(request: Request, limit: int) -> bytes:
    too_large = TooLarge(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the body is larger than {limit} bytes; send a shorter text",
        headers={"connection": "close"},
    )
    if int(request.headers.get("content-length", 0)) > limit:
        raise too_large
    body = bytearray()
    async for piece in request.stream():
        if len(body) + len(piece) > limit:
            raise too_large
        body += piece
    return bytes(body)


async def _discard(receive: Receive) -> None:
    left = _LINGER_BYTES
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            while left > 0:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))
    except TimeoutError:
        pass


def _pointer(location: tuple[int | str, ...]) -> str:
    names = (str(name).replace("~", "~0").replace("/", "~1") for name in location)
    return "#" + "".join(f"/{quote(name)}" for name in names)
