"""Reading a request's JSON body, never holding more of it than allowed."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import quote

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from retort.core.errors import shown
from retort.serve.protocols.problem import Fault, Problem, ProblemResponse

_NAMED = 8
"""Wrong places of a body that are told, of however many."""
_NAME = 64
"""Characters of a key that are told."""
_UTF_8 = {"utf-8", "utf8", "us-ascii"}
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
        Problem: 400 not JSON, 413 too large, 415 not called plain JSON, 422 not a `model`.
    """
    check_type(request.headers, "application/json")
    return parse_json(await read_body(request, limit), model)


def parse_json(body: bytes, model: type[Model]) -> Model:
    """
    Raises:
        Problem: 400 not JSON, 422 not a `model`.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        if faults[0]["type"] == "json_invalid":
            raise Problem(
                HTTPStatus.BAD_REQUEST, f"the body is not JSON: {faults[0]['msg']}"
            ) from None
        raise unprocessable(
            [Fault(pointer=_pointer(fault["loc"]), detail=fault["msg"]) for fault in faults]
        ) from None


async def read_body(request: Request, limit: int) -> bytes:
    """The body of a request, as it is.

    Raises:
        Problem: 413 it has more than `limit` bytes, 415 it is not as it is, but encoded.
    """
    _check_encoding(request.headers)
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


def unprocessable(faults: Sequence[Fault]) -> Problem:
    """422: what is wrong with a body, the first places of it by name."""
    summary = "; ".join(f"{fault.pointer}: {fault.detail}" for fault in faults[:_NAMED])
    if len(faults) > _NAMED:
        summary += f"; and {len(faults) - _NAMED} more"
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, summary, faults=faults[:_NAMED])


async def disconnected(receive: Receive) -> None:
    """Return when the client is gone. Call it once the body has been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


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


def check_type(headers: Headers, wanted: str) -> None:
    """Refuse what is not called by its type, in UTF-8 (RFC 8259, 8.1).

    Raises:
        Problem: 415.
    """
    content_type, _, parameters = headers.get("content-type", "").partition(";")
    if content_type.strip().lower() != wanted:
        found = shown(content_type.strip()) or "missing"
        wrong = f"the content type is {found}; send content-type: {wanted}"
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, wrong)
    for name, _, value in (one.partition("=") for one in parameters.split(";")):
        if name.strip().lower() == "charset" and value.strip(' "').lower() not in _UTF_8:
            wrong = f"the charset is {shown(value.strip())}; send the body in UTF-8"
            raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, wrong)


def _check_encoding(headers: Headers) -> None:
    encoding = ", ".join(headers.getlist("content-encoding")).strip().lower()
    if encoding not in {"", "identity"}:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"the content encoding is {shown(encoding)}; send the body as it is",
            headers={"accept-encoding": "identity"},
        )


def _pointer(location: tuple[int | str, ...]) -> str:
    short = (shown(name)[:_NAME] for name in location)
    names = (name.replace("~", "~0").replace("/", "~1") for name in short)
    return "#" + "".join(f"/{quote(name)}" for name in names)
