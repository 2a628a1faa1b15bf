"""`POST /predict` and `POST /v1/predict`: texts in, labels out."""

import re

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from retort.serve.protocols.body import read_json
from retort.serve.protocols.instances import InstancesRequest, InstancesResponse, predict_each
from retort.serve.protocols.service import (
    REFUSALS,
    Service,
    described_body,
    refusals,
    unless_gone,
)
from retort.serve.protocols.terms import terms_of

_SAYS_SOMETHING = r"[^\u0000-\u0020\u007f-\u00a0\u00ad\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]"
"""A character that is neither space nor control: written out, so that it means the same in the
regular expressions of Python and of JSON Schema."""


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


def routes(service: Service) -> APIRouter:
    """Those of the default model."""
    router = APIRouter()

    @router.post(
        "/predict",
        response_model=PredictionResponse,
        responses=refusals(*REFUSALS),
        openapi_extra=described_body("PredictionRequest"),
    )
    async def predict(request: Request) -> PredictionResponse:
        """The label of a text."""
        with service.answering():
            asked = await read_json(request, PredictionRequest, service.max_body)
            terms = terms_of(request, service.answer_seconds)
            async with service.using() as served:
                answer = await unless_gone(request, served.engine.predict(asked.text, terms))
        return PredictionResponse(label=answer.label, confidence=answer.confidence)

    @router.post(
        "/v1/predict",
        response_model=InstancesResponse,
        response_model_exclude_none=True,
        responses=refusals(*REFUSALS),
        openapi_extra=described_body("InstancesRequest"),
    )
    async def predict_instances(request: Request) -> InstancesResponse:
        """The labels of up to 100 texts; one that cannot be answered has an error in its place."""
        with service.answering():
            asked = await read_json(request, InstancesRequest, service.max_body)
            terms = terms_of(request, service.answer_seconds)
            async with service.using() as served:
                return await unless_gone(request, predict_each(served.engine, asked, terms))

    return router
