"""The application: every protocol that the server speaks, and what they all say of errors."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from retort.core.errors import shown
from retort.serve.protocols import health, predict
from retort.serve.protocols.body import TooLarge, TooLargeResponse
from retort.serve.protocols.identified import Identified, name_of
from retort.serve.protocols.instances import InstancesRequest
from retort.serve.protocols.metrics import Counted, Metrics
from retort.serve.protocols.open_inference import routes as open_inference
from retort.serve.protocols.page import page
from retort.serve.protocols.predict import PredictionRequest
from retort.serve.protocols.problem import Problem, ProblemDetails, ProblemResponse
from retort.serve.protocols.service import REFERENCE, Service

_log = logging.getLogger(__name__)
_CLIENT_GONE = 499  # what nginx logs for it; nobody is left to read it


def create_app(service: Service) -> FastAPI:
    """The application."""
    app = FastAPI(title="Retort", version="1", docs_url=None, redoc_url=None)
    metrics = Metrics(service.models)
    app.add_middleware(Counted, metrics=metrics)
    app.add_middleware(Identified)
    app.router.redirect_slashes = False  # an address that the client wrote would come back in it
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(ClientDisconnect, _on_client_gone)
    app.add_exception_handler(Exception, _on_bug)
    app.include_router(page.routes(service))
    app.include_router(predict.routes(service))
    app.include_router(open_inference.routes(service))
    app.include_router(health.routes(service, metrics))
    app.openapi = lambda: _described(app, service.max_body)  # type: ignore[method-assign]
    return app


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    kind = TooLargeResponse if isinstance(error, TooLarge) else ProblemResponse
    return kind(error, has_error=request.url.path.startswith(open_inference.PREFIX))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    asked = shown(f"{request.method} {request.url.path}")
    detail = f"{asked} is not offered; try POST /predict, GET /health or GET /ready"
    return await _on_problem(request, Problem(status, detail, headers=error.headers or {}))


async def _on_client_gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=_CLIENT_GONE)


async def _on_bug(request: Request, _error: Exception) -> Response:
    _log.error("the request %s met a bug, which is told below", name_of(request.scope))
    detail = "the server has a bug; its log says which"
    return await _on_problem(request, Problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail))


def _described(app: FastAPI, max_body: int) -> dict[str, Any]:
    """The interface as OpenAPI 3.1. FastAPI does not know of bodies that we read ourselves."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        _, models = models_json_schema(
            [
                (PredictionRequest, "validation"),
                (InstancesRequest, "validation"),
                (open_inference.InferenceRequest, "validation"),
                (ProblemDetails, "serialization"),
            ],
            ref_template=REFERENCE,
        )
        components = schema["components"]["schemas"]
        components.update(models["$defs"])
        # Nothing longer fits into a body; what has many bytes a character can be too long before.
        longest = max(0, max_body - len('{"text":""}'))
        components["PredictionRequest"]["properties"]["text"]["maxLength"] = longest
        app.openapi_schema = schema
    return app.openapi_schema
