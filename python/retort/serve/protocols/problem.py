"""Errors as `application/problem+json` (RFC 9457), each saying what was wrong and what to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from fastapi.responses import JSONResponse
from pydantic import BaseModel

MEDIA_TYPE = "application/problem+json"
CLOSE = (b"connection", b"close")
"""The header by which the client learns that the connection ends with this answer."""


class Fault(BaseModel):
    """One wrong place of a request's body."""

    pointer: str
    """Where: a JSON Pointer as a URI fragment (RFC 6901, section 6)."""
    detail: str


class ProblemDetails(BaseModel):
    """The members of RFC 9457 that we send. `type` is about:blank: the status says the kind.

    `error` is `detail` again, where clients of the Open Inference Protocol look for it, and for them alone.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    error: str | None = None
    errors: list[Fault] | None = None


@dataclass(eq=False)
class Problem(Exception):
    """Raised while a request is handled, to end it with an error."""

    status: HTTPStatus
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    faults: Sequence[Fault] = ()


class ProblemResponse(JSONResponse):
    """A problem, as it goes over the wire."""

    media_type = MEDIA_TYPE

    def __init__(self, problem: Problem, *, has_error: bool = False) -> None:
        details = ProblemDetails(
            title=problem.status.phrase,
            status=problem.status,
            detail=problem.detail,
            error=problem.detail if has_error else None,
            errors=list(problem.faults) or None,
        )
        super().__init__(
            details.model_dump(exclude_none=True), problem.status, headers=dict(problem.headers)
        )
