"""One connection: how long a client may take, who gives way to whom, and errors that it can read.

uvicorn's protocol bounds neither the time in which a request is received nor the number of
connections; both are bounded here. A connection whose client has its turn (to send a request, to go
on with one, to read what was sent) has a deadline, and is the first to give way when there are more
connections than there may be: the one that has kept the server waiting the longest. What the
server itself owes an answer never gives way, and of those there are at most as many as the engine's
queue holds, so a new connection always finds a place, and whoever asks for the health is answered.
"""

import asyncio
import logging
import sys
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from retort.serve.protocols.identified import HEADER, new_name
from retort.serve.protocols.problem import CLOSE, Problem, ProblemResponse

_log = logging.getLogger(__name__)
_FIRST_WORD_SECONDS = 1.0
"""In which a client that has just connected sends something, if it means to."""


@dataclass(frozen=True)
class Limits:
    """What clients may take.

    Attributes:
        connections: open at once.
        receive_seconds: from the first byte of a request to its last, and to read an answer.
        idle_seconds: between two requests on one connection.
    """

    connections: int
    receive_seconds: float
    idle_seconds: float


class EdgeConfig(uvicorn.Config):
    """uvicorn's configuration, and what all connections share.

    Attributes:
        limits: of each and of all.
        waiting: connections whose client has its turn, the one that has had it longest first.
    """

    def __init__(self, app: Any, limits: Limits, **options: Any) -> None:
        super().__init__(app, http=Connection, **options)
        self.limits = limits
        self.waiting: dict[Connection, None] = {}


class _Turn(Enum):
    """Who has to do something next, and what."""

    FIRST_WORD = "the client connected and has said nothing"
    RECEIVE = "the client sends a request"
    IDLE = "the client may send another request"
    ANSWER = "the server answers"
    SEND = "the client reads what was sent"


class Connection(H11Protocol):
    """HTTP/1.1 with one client."""

    def __init__(
        self,
        config: EdgeConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = config.limits
        self._waiting = config.waiting
        self._turn = _Turn.ANSWER
        self._since = self.loop.time()
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def is_owed(self) -> bool:
        """Whether to close now would lose a request that was made."""
        if self._turn is _Turn.FIRST_WORD:
            return self.loop.time() < self._since + _FIRST_WORD_SECONDS
        return self._turn in {_Turn.RECEIVE, _Turn.ANSWER}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._begin(_Turn.FIRST_WORD)
        if len(self.connections) > self._limits.connections:
            next(iter(self._waiting))._give_way()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._begin(_Turn.ANSWER)  # nobody is waited for any more

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._settle()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._settle()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._settle()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._settle()

    def cut_off(self) -> None:
        """Close at once if an answer has begun, or waits for a client that does not read."""
        has_begun = self.cycle is not None and self.cycle.response_started
        if self._turn is _Turn.SEND or (has_begun and not self.cycle.response_complete):
            self.transport.abort()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing: the deadline of an idle connection is one among those of this class."""

    def _should_upgrade(self) -> bool:
        return False  # whoever asks for another protocol is answered in this one (RFC 9110, 7.8)

    def send_400_response(self, msg: str) -> None:
        """Say that what came is not HTTP; called while h11's reason is handled."""
        reason = sys.exc_info()[1]
        status = HTTPStatus.BAD_REQUEST
        if isinstance(reason, h11.RemoteProtocolError):
            status, msg = HTTPStatus(reason.error_status_hint), str(reason)
        self._refuse(Problem(status, f"the request is not HTTP as it should be: {msg}"))

    def _settle(self) -> None:
        """Find out whose turn it is."""
        their_state = self.conn.their_state
        if self.transport.is_closing() or self.flow.write_paused:
            turn = _Turn.SEND
        elif their_state is h11.SEND_BODY or (
            their_state is h11.IDLE and self.conn.trailing_data[0]
        ):
            turn = _Turn.RECEIVE
        else:
            turn = _Turn.IDLE if their_state is h11.IDLE else _Turn.ANSWER
        if turn is not self._turn:
            self._begin(turn)

    def _begin(self, turn: _Turn) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._waiting.pop(self, None)
        self._turn, self._since = turn, self.loop.time()
        if turn is not _Turn.ANSWER and self in self.connections:
            limits = self._limits
            seconds = limits.idle_seconds if turn is _Turn.IDLE else limits.receive_seconds
            self._waiting[self] = None
            self._deadline = self.loop.call_later(seconds, self._run_out)

    def _run_out(self) -> None:
        self._end(
            HTTPStatus.REQUEST_TIMEOUT,
            f"the request was not received within {self._limits.receive_seconds:g} s",
        )

    def _give_way(self) -> None:
        self._end(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "there are too many connections, and this request is slow to come; try again later",
        )

    def _end(self, status: HTTPStatus, detail: str) -> None:
        """Close; whoever has begun a request is told why."""
        if self._turn is _Turn.SEND:
            self.transport.abort()
        elif self._turn is _Turn.RECEIVE:
            self._refuse(Problem(status, detail))
        else:
            self.transport.close()
            self._settle()

    def _refuse(self, problem: Problem) -> None:
        """Answer in the application's place, unless it has begun to, and close."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            response = ProblemResponse(problem)
            is_head = self.conn.our_state is h11.SEND_RESPONSE and self.scope["method"] == "HEAD"
            named = (HEADER, new_name())
            headers = {*self.server_state.default_headers, *response.raw_headers, CLOSE, named}
            events = (
                h11.Response(status_code=response.status_code, headers=sorted(headers)),
                h11.Data(data=b"" if is_head else bytes(response.body)),
                h11.EndOfMessage(),
            )
            self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()
        self._settle()
