"""The REST interface: `POST /predict`, `POST /v1/predict`, `GET /health` and `GET /ready`."""

import asyncio
import re
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.json_schema import models_json_schema
from pydantic_core import PydanticCustomError
from starlette.exceptions import HTTPException
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
from retort.serve.protocols.body import (
    TooLarge,
    TooLargeResponse,
    disconnected,
    read_json,
    unprocessable,
)
from retort.serve.protocols.drain import Drain
from retort.serve.protocols.instances import InstancesRequest, InstancesResponse, predict_each
from retort.serve.protocols.metrics import MEDIA_TYPE as METRICS_TYPE
from retort.serve.protocols.metrics import Counted, Metrics
from retort.serve.protocols.problem import Fault, Problem, ProblemDetails, ProblemResponse
from retort.serve.protocols.terms import terms_of

_CLIENT_GONE = 499  # what nginx logs for it; nobody is left to read it
_REFUSALS = (400, 408, 413, 415, 422, 500, 503)
_REFERENCE = "#/components/schemas/{model}"
_SAYS_SOMETHING = r"[^\u0000-\u0020\u007f-\u00a0\u00ad\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]"
"""A character that is neither space nor control: written out, so that it means the same in the
regular expressions of Python and of JSON Schema."""


AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True)
class ServedModel:
    """What the server says about the model behind it."""

    seal: str
    labels: tuple[str, ...]
    precision: str = "float32"


class PredictionRequest(BaseModel):
    """The body of `POST /predict`."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"text": "Shares rose after the bank cut its rates"}]},
    )
    text: str = Field(
        description="What is to be labelled. Refused, too, where the model's tokenizer finds no token.",
        json_schema_extra={"minLength": 1, "pattern": _SAYS_SOMETHING},
    )

    @field_validator("text")
    @classmethod
    def _says_something(cls, text: str) -> str:
        if not re.search(_SAYS_SOMETHING, text):
            raise PydanticCustomError("blank", "is empty; send the text to be labelled")
        return text


class PredictionResponse(BaseModel):
    """The label, and its probability: a float32, written so that it is read back unchanged."""

    label: str
    confidence: float = Field(ge=0, le=1, allow_inf_nan=False)


class Health(BaseModel):
    """How the server is, and which model it serves."""

    status: Literal["ok", "draining", "failed"]
    seal: str
    labels: list[str]
    precision: str


def create_app(
    engine: InferenceEngine,
    model: ServedModel,
    drain: Drain,
    *,
    max_body: int,
    answer_seconds: float,
) -> FastAPI:
    """The application.

    Args:
        max_body: the largest body that it reads, in bytes.
        answer_seconds: after which a request is given up.
    """
    app = FastAPI(title="Retort", version=model.seal, docs_url=None, redoc_url=None)
    metrics = Metrics(engine)
    app.add_middleware(Counted, metrics=metrics)
    app.router.redirect_slashes = False  # an address that the client wrote would come back in it
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(ClientDisconnect, _on_client_gone)
    app.add_exception_handler(Exception, _on_bug)

    @app.post(
        "/predict",
        response_model=PredictionResponse,
        responses={status: _refusal(status) for status in _REFUSALS},
        openapi_extra={"requestBody": _request_body("PredictionRequest")},
    )
    async def predict(request: Request) -> PredictionResponse:
        """The label of a text."""
        with _as_problems(drain):
            asked = await read_json(request, PredictionRequest, max_body)
            terms = terms_of(request, answer_seconds)
            answer = await _unless_gone(request, engine.predict(asked.text, terms))
        return PredictionResponse(label=answer.label, confidence=answer.confidence)

    @app.post(
        "/v1/predict",
        response_model=InstancesResponse,
        response_model_exclude_none=True,
        responses={status: _refusal(status) for status in _REFUSALS},
        openapi_extra={"requestBody": _request_body("InstancesRequest")},
    )
    async def predict_instances(request: Request) -> InstancesResponse:
        """The labels of up to 100 texts; one that cannot be answered has an error in its place."""
        with _as_problems(drain):
            asked = await read_json(request, InstancesRequest, max_body)
            terms = terms_of(request, answer_seconds)
            return await _unless_gone(request, predict_each(engine, model.labels, asked, terms))

    def told(*, unwell: bool) -> Response:
        status: Literal["ok", "draining", "failed"] = "draining" if drain.begun else "ok"
        if not engine.is_alive():
            status = "failed"
        body = Health(
            status=status,
            seal=model.seal,
            labels=list(model.labels),
            precision=model.precision,
        )
        return JSONResponse(body.model_dump(), 503 if unwell else 200)

    @app.get("/health", response_model=Health, responses={503: {"model": Health}})
    async def health() -> Response:
        """Whether the server lives: 200, also while it ends; 503 if its model has died."""
        return told(unwell=not engine.is_alive())

    @app.get("/ready", response_model=Health, responses={503: {"model": Health}})
    async def ready() -> Response:
        """Whether to send requests here: 503 if its model has died, and from the moment it ends."""
        return told(unwell=drain.begun or not engine.is_alive())

    @app.get("/live", response_class=PlainTextResponse)
    async def live() -> Response:
        """Whether this process answers at all: 200, whatever its model does."""
        return PlainTextResponse("ok")

    @app.get("/metrics", response_class=PlainTextResponse)
    async def read_metrics() -> Response:
        """Figures for Prometheus."""
        return Response(metrics.text(), media_type=METRICS_TYPE)

    app.openapi = lambda: _described(app, max_body)  # type: ignore[method-assign]
    return app


@contextmanager
def _as_problems(drain: Drain) -> Iterator[None]:
    """Have whatever an engine raises told to the client."""
    try:
        yield
    except Overloaded as error:
        raise _unavailable(f"{error}; try again later") from error
    except (EngineStopped, Expired) as error:
        raise _unavailable(str(error)) from error
    except (NothingToRead, TooLong) as error:
        fault = Fault(pointer="#/text", detail=str(error))
        raise unprocessable([fault]) from error
    except PredictionFailed as error:
        raise Problem(HTTPStatus.INTERNAL_SERVER_ERROR, str(error)) from error
    except asyncio.CancelledError as error:
        drain.cut_off += 1
        raise _unavailable("the server ended before it could answer") from error


async def _unless_gone(request: Request, computation: Coroutine[Any, Any, AnswerT]) -> AnswerT:
    """Wait for an answer as long as there is someone to read it."""
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


def _unavailable(detail: str) -> Problem:
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"retry-after": "1"})


async def _on_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return TooLargeResponse(error) if isinstance(error, TooLarge) else ProblemResponse(error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    asked = shown(f"{request.method} {request.url.path}")
    detail = f"{asked} is not offered; try POST /predict, GET /health or GET /ready"
    return ProblemResponse(Problem(status, detail, headers=error.headers or {}))


async def _on_client_gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=_CLIENT_GONE)


async def _on_bug(_request: Request, _error: Exception) -> Response:
    detail = "the server has a bug; its log says which"
    return ProblemResponse(Problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail))


def _described(app: FastAPI, max_body: int) -> dict[str, Any]:
    """The interface as OpenAPI 3.1. FastAPI does not know of bodies that we read ourselves."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        _, models = models_json_schema(
            [
                (PredictionRequest, "validation"),
                (InstancesRequest, "validation"),
                (ProblemDetails, "serialization"),
            ],
            ref_template=_REFERENCE,
        )
        components = schema["components"]["schemas"]
        components.update(models["$defs"])
        # Nothing longer fits into a body; what has many bytes a character can be too long before.
        longest = max(0, max_body - len('{"text":""}'))
        components["PredictionRequest"]["properties"]["text"]["maxLength"] = longest
        app.openapi_schema = schema
    return app.openapi_schema


def _request_body(model: str) -> dict[str, Any]:
    schema = {"$ref": _REFERENCE.format(model=model)}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _refusal(status: int) -> dict[str, Any]:
    schema = {"$ref": _REFERENCE.format(model="ProblemDetails")}
    return {
        "description": HTTPStatus(status).phrase,
        "content": {problem.MEDIA_TYPE: {"schema": schema}},
    }
