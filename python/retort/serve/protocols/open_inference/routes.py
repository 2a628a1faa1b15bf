"""The Open Inference Protocol, version 2, as KServe and Triton speak it: /v2.

https://github.com/kserve/open-inference-protocol, REST. A model takes one tensor of texts, and gives for each the
label, its probability, those of all labels, and whether the text was cut. One text that cannot be answered fails the
request.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from retort.core.errors import shown
from retort.serve.engine.engine import Answer
from retort.serve.protocols.body import parse_json, read_body, unprocessable
from retort.serve.protocols.instances import MOST
from retort.serve.protocols.open_inference.tensors import (
    DataType,
    InputTensor,
    OutputTensor,
    tensor_of,
    texts_of,
)
from retort.serve.protocols.problem import Fault, Problem
from retort.serve.protocols.service import (
    REFUSALS,
    ServedModel,
    Service,
    Told,
    described_body,
    refusals,
    unless_gone,
)
from retort.serve.protocols.terms import terms_of
from retort.serve.protocols.together import together

PREFIX = "/v2"
_JSON_BYTES = "inference-header-content-length"
"""The header that says how much of a body is JSON, where tensors are behind it."""
_INPUT = "text"
_PLATFORM = "retort"
_EXTENSIONS = ["binary_tensor_data"]


class RequestedOutput(BaseModel):
    """An output that is wanted."""

    model_config = ConfigDict(strict=True, frozen=True)
    name: str
    parameters: dict[str, Any] = {}


class InferenceRequest(BaseModel):
    """The body of `POST /v2/models/NAME/infer`."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "inputs": [
                        {
                            "name": _INPUT,
                            "shape": [1],
                            "datatype": "BYTES",
                            "data": ["Shares rose after the bank cut its rates"],
                        }
                    ]
                }
            ]
        },
    )
    id: str | None = None
    parameters: dict[str, Any] = {}
    inputs: list[InputTensor] = Field(min_length=1, max_length=1)
    outputs: list[RequestedOutput] | None = None


class InferenceResponse(BaseModel):
    """What the model says of the texts, in their order."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


class TensorDescription(BaseModel):
    """A tensor that a model takes or gives; -1 is as many as there are texts."""

    name: str
    datatype: DataType
    shape: list[int]


class ModelDescription(BaseModel):
    """A model's tensors."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorDescription]
    outputs: list[TensorDescription]


class ServerDescription(BaseModel):
    """The server."""

    name: str
    version: str
    extensions: list[str]


def routes(service: Service) -> APIRouter:
    """Those of all models of a service. A model's version is its seal."""
    router = APIRouter(prefix=PREFIX)

    @router.get("", response_model=ServerDescription)
    async def server() -> ServerDescription:
        """What the server is."""
        return ServerDescription(name=_PLATFORM, version="2", extensions=_EXTENSIONS)

    @router.get("/health/live")
    async def live() -> dict[str, bool]:
        """Whether the server answers."""
        return {"live": True}

    @router.get("/health/ready", responses={503: {}})
    async def ready() -> Response:
        """Whether to send requests here."""
        return JSONResponse({"ready": service.is_ready}, 200 if service.is_ready else 503)

    def by_name(name: str) -> Place:
        return Place(name)

    def by_version(name: str, version: str) -> Place:
        return Place(name, version)

    _add_model(router, "/models/{name}", by_name, service)
    _add_model(router, "/models/{name}/versions/{version}", by_version, service)
    return router


@dataclass(frozen=True)
class Place:
    """A model that a path names, and, perhaps, its version."""

    name: str
    version: str | None = None

    def check(self, model: ServedModel) -> None:
        """
        Raises:
            Problem: 404, the model has another version.
        """
        if self.version not in {None, model.seal}:
            detail = f"model {shown(self.name)} has no version {shown(self.version)}; it has {model.seal}"
            raise Problem(HTTPStatus.NOT_FOUND, detail)


def _add_model(router: APIRouter, path: str, find: Callable[..., Place], service: Service) -> None:
    """The routes of models at a path, by what reads the path."""

    def told(place: Place) -> Told:
        found = service.named(place.name)
        place.check(found.model)
        return found

    @router.get(f"{path}/ready", responses={**refusals(404), 503: {}})
    async def model_ready(place: Annotated[Place, Depends(find)]) -> Response:
        """Whether a model answers."""
        is_alive = told(place).is_alive
        return JSONResponse({"name": place.name, "ready": is_alive}, 200 if is_alive else 503)

    @router.get(path, response_model=ModelDescription, responses=refusals(404))
    async def describe(place: Annotated[Place, Depends(find)]) -> ModelDescription:
        """A model's tensors."""
        return _described(place.name, told(place).model)

    @router.post(
        f"{path}/infer",
        response_model=InferenceResponse,
        responses=refusals(404, *REFUSALS),
        openapi_extra=described_body("InferenceRequest"),
    )
    async def infer(request: Request, place: Annotated[Place, Depends(find)]) -> Response:
        """The labels of texts, up to 100."""
        with service.answering("#/inputs/0/data"):
            body = await read_body(request, service.max_body)
            async with service.using(place.name) as served:
                place.check(served.model)
                size = _json_bytes(request, body)
                asked = parse_json(body[:size], InferenceRequest)
                texts = _texts_of(asked, body[size:])
                wanted = _wanted(asked, served.model)
                terms = terms_of(request, service.answer_seconds)
                computations = [served.engine.predict(text, terms) for text in texts]
                answers = await unless_gone(request, together(computations))
        return _response(place.name, served.model, asked, wanted, answers)


def _tensors(model: ServedModel) -> dict[str, TensorDescription]:
    """What a model gives, by name."""
    shapes: tuple[tuple[str, DataType, list[int]], ...] = (
        ("label", "BYTES", [-1]),
        ("probability", "FP32", [-1]),
        ("probabilities", "FP32", [-1, len(model.labels)]),
        ("truncated", "BOOL", [-1]),
    )
    return {
        name: TensorDescription(name=name, datatype=kind, shape=shape)
        for name, kind, shape in shapes
    }


def _described(name: str, model: ServedModel) -> ModelDescription:
    return ModelDescription(
        name=name,
        versions=[model.seal],
        platform=_PLATFORM,
        inputs=[TensorDescription(name=_INPUT, datatype="BYTES", shape=[-1])],
        outputs=list(_tensors(model).values()),
    )


def _json_bytes(request: Request, body: bytes) -> int:
    """How much of a body is JSON.

    Raises:
        Problem: the header says more than there is, or no number.
    """
    said = request.headers.get(_JSON_BYTES)
    if said is None:
        return len(body)
    if not (said.isascii() and said.isdecimal()) or int(said) > len(body):
        detail = f"the header {_JSON_BYTES} is {shown(said)}, and the body has {len(body)} bytes"
        raise Problem(HTTPStatus.BAD_REQUEST, detail)
    return int(said)


def _texts_of(asked: InferenceRequest, behind: bytes) -> list[str]:
    (tensor,) = asked.inputs
    pointer = "#/inputs/0"
    if tensor.name != _INPUT:
        detail = f"is {shown(tensor.name)}; the model takes {_INPUT}"
        raise unprocessable([Fault(pointer=f"{pointer}/name", detail=detail)])
    texts = texts_of(tensor, pointer, behind)
    if not 1 <= len(texts) <= MOST:
        detail = f"has {len(texts)} texts; send 1 to {MOST}"
        raise unprocessable([Fault(pointer=f"{pointer}/shape", detail=detail)])
    return texts


def _wanted(asked: InferenceRequest, model: ServedModel) -> list[tuple[TensorDescription, bool]]:
    """The tensors of the answer, and whether each is to be bytes."""
    tensors = _tensors(model)
    in_bytes = asked.parameters.get("binary_data_output") is True
    if asked.outputs is None:
        return [(tensor, in_bytes) for tensor in tensors.values()]
    found = []
    for number, output in enumerate(asked.outputs):
        if output.name not in tensors:
            detail = f"is {shown(output.name)}; the model gives {', '.join(tensors)}"
            raise unprocessable([Fault(pointer=f"#/outputs/{number}/name", detail=detail)])
        binary = output.parameters.get("binary_data", in_bytes)
        found.append((tensors[output.name], binary is True))
    return found


def _response(
    name: str,
    model: ServedModel,
    asked: InferenceRequest,
    wanted: Sequence[tuple[TensorDescription, bool]],
    answers: Sequence[Answer],
) -> Response:
    values: dict[str, list[Any]] = {
        "label": [one.label for one in answers],
        "probability": [one.confidence for one in answers],
        "probabilities": [share for one in answers for share in one.probabilities],
        "truncated": [one.truncated for one in answers],
    }
    made = [
        tensor_of(one.name, one.datatype, values[one.name], [len(answers), *one.shape[1:]], binary)
        for one, binary in wanted
    ]
    told = InferenceResponse(
        model_name=name,
        model_version=model.seal,
        id=asked.id,
        outputs=[tensor for tensor, _ in made],
    )
    json = told.model_dump_json(exclude_none=True).encode()
    behind = b"".join(one for _, one in made)
    if not any(binary for _, binary in wanted):
        return Response(json, media_type="application/json")
    headers = {_JSON_BYTES: str(len(json))}
    return Response(json + behind, media_type="application/octet-stream", headers=headers)
