"""The REST interface: `POST /predict` and `GET /health`."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, field_validator
from pydantic_core import PydanticCustomError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from retort.models.predict import Prediction
from retort.serve import problem
from retort.serve.body import TooLarge, TooLargeResponse, disconnected, read_json
from retort.serve.drain import Drain
from retort.serve.engine import Engine, EngineStopped, Overloaded, PredictionFailed
from retort.serve.problem import Problem, ProblemDetails, ProblemResponse

_RETRY = {"retry-after": "1"}
_CLIENT_GONE = 499  # what nginx logs for it; nobody is left to read it
_REFUSALS = (400, 413, 415, 422, 500, 503)


@dataclass(frozen=True)
class ServedModel:
    """What the server says about the model behind it."""

    seal: str
    labels: tuple[str, ...]


class PredictionRequest(BaseModel):
    """The body of `POST /predict`."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"text": "Shares rose after the bank cut its rates"}]},
    )
    text: str

    @field_validator("text")
    @classmethod
    def _says_something(cls, text: str) -> str:
        if not text.strip():
            raise PydanticCustomError("blank", "is empty; send the text to be labelled")
        return text


class PredictionResponse(BaseModel):
    """The label, and its probability: a float32, written so that it is read back unchanged."""

    label: str
    confidence: float


class Health(BaseModel):
    """Whether a request made now would be answered, and by which model."""

    status: Literal["ok", "draining", "failed"]
    seal: str
    labels: list[str]


def create_app(engine: Engine, model: ServedModel, drain: Drain, *, max_body: int) -> FastAPI:
    """The application; `max_body` is the largest body that it reads, in bytes."""
    app = FastAPI(title="Retort", version=model.seal, docs_url=None, redoc_url=None)
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(ClientDisconnect, _on_client_gone)
    app.add_exception_handler(Exception, _on_bug)

    @app.post(
        "/predict",
        response_model=PredictionResponse,
        responses={status: _refusal(status) for status in _REFUSALS},
        openapi_extra={"requestBody": _request_body()},
    )
    async def predict(request: Request) -> PredictionResponse:
        """The label of a text."""
        if drain.begun:
            raise _unavailable("the server is ending; ask another one", {"connection": "close"})
        with drain.request():
            try:
                asked = await read_json(request, PredictionRequest, max_body)
                answer = await _unless_gone(request, engine.predict(asked.text))
            except Overloaded as error:
                raise _unavailable(f"{error}; try again later", _RETRY) from error
            except EngineStopped as error:
                raise _unavailable(str(error), _RETRY) from error
            except PredictionFailed as error:
                raise Problem(HTTPStatus.INTERNAL_SERVER_ERROR, str(error)) from error
            except asyncio.CancelledError as error:
                drain.cut_off += 1
                raise _unavailable("the server ended before it could answer", _RETRY) from error
        return PredictionResponse(label=answer.label, confidence=answer.confidence)

    @app.get("/health", response_model=Health, responses={503: {"model": Health}})
    async def health() -> Response:
        """Whether the server can answer: 200 if it can, 503 if it is ending or its model died."""
        status: Literal["ok", "draining", "failed"] = "ok"
        if not engine.is_alive():
            status = "failed"
        elif drain.begun:
            status = "draining"
        body = Health(status=status, seal=model.seal, labels=list(model.labels))
        return JSONResponse(body.model_dump(), 200 if status == "ok" else 503)

    return app


async def _unless_gone(
    request: Request, computation: Coroutine[Any, Any, Prediction]
) -> Prediction:
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


def _unavailable(detail: str, headers: dict[str, str]) -> Problem:
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=headers)


async def _on_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return TooLargeResponse(error) if isinstance(error, TooLarge) else ProblemResponse(error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail = f"{request.method} {request.url.path} is not offered; try POST /predict or GET /health"
    return ProblemResponse(Problem(status, detail, headers=error.headers or {}))


async def _on_client_gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=_CLIENT_GONE)


async def _on_bug(_request: Request, _error: Exception) -> Response:
    detail = "the server has a bug; its log says which"
    return ProblemResponse(Problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail))


def _request_body() -> dict[str, Any]:
    schema = PredictionRequest.model_json_schema()
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _refusal(status: int) -> dict[str, Any]:
    schema = ProblemDetails.model_json_schema(ref_template="#/$defs/{model}")
    return {
        "description": HTTPStatus(status).phrase,
        "content": {problem.MEDIA_TYPE: {"schema": schema}},
    }
