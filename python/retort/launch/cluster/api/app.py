"""The API over HTTP: who may ask, what there is to ask for, and refusals in its own words."""

import hmac
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from retort.core.errors import StorageError
from retort.launch.cluster.api import discovery, openapi
from retort.launch.cluster.api.answers import json_response, refusal
from retort.launch.cluster.api.request import MOST, target_of
from retort.launch.cluster.api.resources import Resources, unknown_path
from retort.launch.cluster.api.streams import Closing
from retort.launch.cluster.kinds.errors import ApiError, JSONObject
from retort.launch.cluster.objects.registry import Registry

_log = logging.getLogger(__name__)
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_OPEN = ("/healthz", "/livez", "/readyz")
"""What anybody may ask."""


def create_app(registry: Registry, logs: Path, token: str, closing: Closing) -> Starlette:
    """The server's application.

    Args:
        logs: the folder of the logs of containers.
        token: that every request must bear.
        closing: begun when the server ends, which ends watches.
    """
    resources = Resources(registry, logs, closing)

    async def respond(request: Request) -> Response:
        path = request.url.path
        if path in _OPEN:
            return PlainTextResponse("ok")
        _check_token(request, token)
        _check_size(request)
        target = target_of(path)
        if target is not None:
            return await resources.handle(request, target)
        if request.method not in ("GET", "HEAD"):
            raise unknown_path()
        found = _described(request, path.rstrip("/"))
        if found is None:
            raise unknown_path()
        return found

    return Starlette(routes=[Route("/{path:path}", _refusing(respond), methods=_METHODS)])


def _refusing(
    respond: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            return await respond(request)
        except ApiError as error:
            return refusal(error)
        except StorageError as error:
            _log.warning("%s", error)
            code = HTTPStatus.INSUFFICIENT_STORAGE
            return refusal(ApiError(code, "InsufficientStorage", str(error)))
        except ClientDisconnect:
            return Response(status_code=int(HTTPStatus.BAD_REQUEST))
        except Exception as error:
            _log.exception("%s %s", request.method, request.url.path)
            code = HTTPStatus.INTERNAL_SERVER_ERROR
            return refusal(ApiError(code, "InternalError", f"Internal error occurred: {error!r}"))

    return answer


def _check_token(request: Request, token: str) -> None:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    known = hmac.compare_digest(given.strip().encode(), token.encode())
    if scheme.lower() != "bearer" or not known:
        raise ApiError(HTTPStatus.UNAUTHORIZED, "Unauthorized", "Unauthorized")


def _check_size(request: Request) -> None:
    length = request.headers.get("content-length", "0")
    is_long = not length.isdigit() or int(length) > MOST
    if is_long or "chunked" in request.headers.get("transfer-encoding", ""):
        raise ApiError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "RequestEntityTooLarge",
            f"Request entity too large: limit is {MOST}, and its length is to be named",
        )


def _described(request: Request, path: str) -> Response | None:
    """What the server tells of itself."""
    accept = request.headers.get("accept", "")
    if path in ("/api", "/apis") and discovery.wants_aggregated(accept):
        response = json_response(discovery.aggregated(core=path == "/api"))
        response.headers["content-type"] = discovery.AGGREGATED
        return response
    if path == "/openapi/v2" and openapi.SWAGGER_IN_PROTOBUF in accept:
        # What is asked for with @ is no media type, so that it is answered without.
        media = openapi.SWAGGER_IN_PROTOBUF.replace("@", ".")
        return Response(openapi.swagger_in_protobuf(), media_type=media)
    found: JSONObject | None = None
    steps = path.strip("/").split("/")
    if path == "":
        found = {"paths": ["/api", "/apis", *_OPEN, "/openapi/v2", "/openapi/v3", "/version"]}
    elif path == "/version":
        found = discovery.version()
    elif path == "/api":
        found = discovery.core_versions(request.url.netloc)
    elif path == "/apis":
        found = discovery.groups()
    elif path == "/openapi/v2":
        found = openapi.swagger()
    elif path == "/openapi/v3":
        found = openapi.paths()
    elif path.startswith("/openapi/v3/"):
        found = _described_group(steps[2:])
    elif steps[0] == "api" and len(steps) == 2:
        found = discovery.resources("", steps[1])
    elif steps[0] == "apis" and len(steps) == 2:
        found = discovery.group_at(steps[1])
    elif steps[0] == "apis" and len(steps) == 3:
        found = discovery.resources(steps[1], steps[2])
    return None if found is None else json_response(found)


def _described_group(steps: list[str]) -> JSONObject | None:
    if steps[0] == "api" and len(steps) == 2:
        return openapi.described("", steps[1])
    if steps[0] == "apis" and len(steps) == 3:
        return openapi.described(steps[1], steps[2])
    return None
