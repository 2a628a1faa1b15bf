"""Requests by name: each answer has the header X-Request-Id, the client's own if it gave one."""

import re
import secrets

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = b"x-request-id"
_FITTING = re.compile(rb"[A-Za-z0-9._~:/+=-]{1,128}")
_KEY = "retort.request"


def new_name() -> bytes:
    """A name that no other request has."""
    return secrets.token_hex(8).encode()


def name_of(scope: Scope) -> str:
    """Of the request that is answered."""
    name: bytes = scope[_KEY]
    return name.decode()


class Identified:
    """An ASGI application whose requests have names."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, by name."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == HEADER), b"")
        name = given if _FITTING.fullmatch(given) else new_name()
        scope[_KEY] = name

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (HEADER, name)]}
            await send(message)

        await self._app(scope, receive, send_named)
