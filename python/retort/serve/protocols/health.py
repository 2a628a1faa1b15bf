"""`GET /live`, `/health`, `/ready` and `/metrics`: how the server is."""

from typing import Literal

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel

from retort.serve.protocols.metrics import MEDIA_TYPE, Metrics
from retort.serve.protocols.service import Service


class Health(BaseModel):
    """How the server is, and which model it serves by default."""

    status: Literal["ok", "draining", "failed"]
    seal: str
    labels: list[str]
    precision: str


def routes(service: Service, metrics: Metrics) -> APIRouter:
    """Those of a service and its default model."""
    router = APIRouter()

    def told(*, unwell: bool) -> Response:
        first = service.first
        status: Literal["ok", "draining", "failed"] = "draining" if service.drain.begun else "ok"
        if not first.is_alive:
            status = "failed"
        body = Health(
            status=status,
            seal=first.model.seal,
            labels=list(first.model.labels),
            precision=first.model.precision,
        )
        return JSONResponse(body.model_dump(), 503 if unwell else 200)

    @router.get("/health", response_model=Health, responses={503: {"model": Health}})
    async def health() -> Response:
        """Whether the server lives: 200, also while it ends; 503 if its model has died."""
        return told(unwell=not service.first.is_alive)

    @router.get("/ready", response_model=Health, responses={503: {"model": Health}})
    async def ready() -> Response:
        """Whether to send requests here: 503 if its model has died, and from the moment it ends."""
        return told(unwell=not service.is_ready)

    @router.get("/live", response_class=PlainTextResponse)
    async def live() -> Response:
        """Whether this process answers at all: 200, whatever its model does."""
        return PlainTextResponse("ok")

    @router.get("/metrics", response_class=PlainTextResponse)
    async def read_metrics() -> Response:
        """Figures for Prometheus."""
        return Response(metrics.text(), media_type=MEDIA_TYPE)

    return router
