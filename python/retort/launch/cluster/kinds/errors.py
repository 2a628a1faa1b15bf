"""Refusals, as an API server words them."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from retort.core.errors import RetortError
from retort.launch.cluster.kinds.kind import Kind

JSONObject = dict[str, Any]
"""An object of the API, as it is written in JSON."""


class ApiError(RetortError):
    """A refusal: what `kubectl` shows as `Error from server (REASON): MESSAGE`.

    Attributes:
        code: HTTP status.
        reason: one word by which clients tell refusals apart.
        details: group, kind, name, and causes.
    """

    def __init__(
        self, code: HTTPStatus, reason: str, message: str, details: JSONObject | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details or {}

    def status(self) -> JSONObject:
        """The object of kind Status that says so
        (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/)."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            **({"details": self.details} if self.details else {}),
            "code": int(self.code),
        }


@dataclass(frozen=True)
class Cause:
    """What is wrong with one field."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def required(field: str, hint: str = "") -> Cause:
    """A field that must be there."""
    message = f"Required value: {hint}" if hint else "Required value"
    return Cause(field, message, "FieldValueRequired")


def invalid_value(field: str, value: object, why: str) -> Cause:
    """A field whose value is not possible."""
    return Cause(field, f"Invalid value: {_quoted(value)}: {why}")


def unsupported(field: str, value: object, allowed: Sequence[str]) -> Cause:
    """A field whose value is none of those that there are."""
    words = ", ".join(f'"{one}"' for one in allowed)
    return Cause(
        field,
        f"Unsupported value: {_quoted(value)}: supported values: {words}",
        "FieldValueNotSupported",
    )


def not_found(kind: Kind, name: str) -> ApiError:
    """There is no such object."""
    message = f'{kind.resource} "{name}" not found'
    return ApiError(HTTPStatus.NOT_FOUND, "NotFound", message, _details(kind, name))


def already_exists(kind: Kind, name: str) -> ApiError:
    """There is one of that name."""
    message = f'{kind.resource} "{name}" already exists'
    return ApiError(HTTPStatus.CONFLICT, "AlreadyExists", message, _details(kind, name))


def conflict(kind: Kind, name: str, why: str) -> ApiError:
    """The object is not what the writer believes."""
    message = f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}'
    return ApiError(HTTPStatus.CONFLICT, "Conflict", message, _details(kind, name))


MODIFIED = (
    "the object has been modified; please apply your changes to the latest version and try again"
)


def invalid(kind: Kind, name: str, causes: Sequence[Cause]) -> ApiError:
    """Fields have values that they must not have."""
    words = ", ".join(map(str, causes))
    text = f"[{words}]" if len(causes) > 1 else words
    who = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    listed = [{"reason": one.reason, "message": one.message, "field": one.field} for one in causes]
    return ApiError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Invalid",
        f'{who} "{name}" is invalid: {text}',
        {"name": name, "group": kind.group, "kind": kind.kind, "causes": listed},
    )


def bad_request(message: str) -> ApiError:
    """The request makes no sense."""
    return ApiError(HTTPStatus.BAD_REQUEST, "BadRequest", message)


def forbidden(kind: Kind, name: str, why: str) -> ApiError:
    """The request is understood, and may not be."""
    message = f'{kind.resource} "{name}" is forbidden: {why}'
    return ApiError(HTTPStatus.FORBIDDEN, "Forbidden", message, _details(kind, name))


def expired(message: str) -> ApiError:
    """What is asked for was forgotten: list anew."""
    return ApiError(HTTPStatus.GONE, "Expired", message)


def unsupported_media_type(given: str, accepted: Sequence[str]) -> ApiError:
    """The body is in a format that is not read here."""
    return ApiError(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "UnsupportedMediaType",
        f"the body of the request was in an unknown format ({given or 'none is named'}) - accepted "
        f"media types include: {', '.join(accepted)}",
    )


def _details(kind: Kind, name: str) -> JSONObject:
    return {"name": name, **({"group": kind.group} if kind.group else {}), "kind": kind.plural}


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
