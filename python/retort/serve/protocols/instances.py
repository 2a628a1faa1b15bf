"""`POST /v1/predict`: several texts in one request, each answered, or refused, by itself."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from retort.serve.engine.engine import (
    Answer,
    EngineError,
    InferenceEngine,
    NothingToRead,
    PredictionFailed,
    Terms,
    TooLong,
)
from retort.serve.protocols.together import together

MOST = 100
"""Texts of a request."""
_OF_THE_TEXT: Mapping[type[EngineError], HTTPStatus] = {
    NothingToRead: HTTPStatus.UNPROCESSABLE_ENTITY,
    TooLong: HTTPStatus.UNPROCESSABLE_ENTITY,
    PredictionFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""What is wrong with one text, and says nothing of the others."""


class Instance(BaseModel):
    """A text."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")
    text: str


class InstancesRequest(BaseModel):
    """The body of `POST /v1/predict`."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [{"instances": [{"text": "Shares rose after the bank cut its rates"}]}]
        },
    )
    instances: Annotated[list[Instance], Field(min_length=1, max_length=MOST)]


class InstanceError(BaseModel):
    """Why there is no answer to one text."""

    status: int
    detail: str


class InstancePrediction(BaseModel):
    """What the model says of one text: all but `error`, or `error` alone.

    Probabilities are float32, written so that they are read back unchanged.
    """

    model_config = ConfigDict(serialize_by_alias=True)
    label: str | None = Field(None, serialization_alias="class")
    probability: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    probabilities: dict[str, float] | None = None
    truncated: bool | None = Field(None, description="Whether the model has read only a part.")
    error: InstanceError | None = None


class InstancesResponse(BaseModel):
    """Of each text, in the order of the request."""

    predictions: list[InstancePrediction]


async def predict_each(
    engine: InferenceEngine, asked: InstancesRequest, terms: Terms
) -> InstancesResponse:
    """
    Raises:
        EngineError: of none of the texts, but of the engine.
    """

    async def one(instance: Instance) -> InstancePrediction:
        try:
            answer = await engine.predict(instance.text, terms)
        except (NothingToRead, TooLong, PredictionFailed) as error:
            refused = InstanceError(status=_OF_THE_TEXT[type(error)], detail=str(error))
            return InstancePrediction(error=refused)
        return _told(answer)

    return InstancesResponse(predictions=await together(map(one, asked.instances)))


def _told(answer: Answer) -> InstancePrediction:
    return InstancePrediction(
        label=answer.label,
        probability=answer.confidence,
        probabilities=answer.by_label,
        truncated=answer.truncated,
    )
