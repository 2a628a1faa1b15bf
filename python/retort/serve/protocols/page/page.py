"""The page at `/`: a person types a text, and sees what the model says of it and which words that hangs on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from starlette.responses import HTMLResponse

from retort.serve.engine.engine import Answer, NothingToRead, Terms
from retort.serve.protocols.body import check_type, read_body, unprocessable
from retort.serve.protocols.page.words import Part, explain
from retort.serve.protocols.problem import Fault, Problem
from retort.serve.protocols.service import REFUSALS, Served, Service, refusals, unless_gone
from retort.serve.protocols.terms import terms_of

_FORM = "application/x-www-form-urlencoded"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
_HEADERS = {"content-security-policy": _POLICY, "cache-control": "no-store"}
_SHADES = 4
"""Of words for the label, and as many of words against it."""
_FIELDS = 4


@dataclass(frozen=True)
class _Word:
    """Words as the page shows them: a shade from -4 to 4, and by how much the label's probability falls without."""

    text: str
    shade: int
    weight: str


def routes(service: Service) -> APIRouter:
    """The page of the default model."""
    router = APIRouter()

    @router.get("/", response_class=HTMLResponse)
    async def empty() -> Response:
        """A form for a text."""
        return _page(service, "")

    @router.post(
        "/",
        response_class=HTMLResponse,
        responses=_refusals(),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    _FORM: {
                        "schema": {
                            "type": "object",
                            "properties": {"text": {"type": "string"}},
                            "required": ["text"],
                        }
                    }
                },
            }
        },
    )
    async def answered(request: Request) -> Response:
        """What the model says of the form's text."""
        check_type(request.headers, _FORM)
        text = _text_of(await read_body(request, service.max_body))
        try:
            with service.answering():
                terms = terms_of(request, service.answer_seconds)
                async with service.using() as served:
                    found = await unless_gone(request, _answers(served, terms, text))
        except Problem as problem:
            return _page(service, text, status=problem.status, wrong=problem.detail)
        return _page(service, text, *found)

    return router


def _refusals() -> dict[int | str, dict[str, Any]]:
    """What a model or an engine refuses is told on the page, other things as everywhere."""
    found = refusals(*REFUSALS)
    for status in (422, 429, 500, 503):
        found[status]["content"]["text/html"] = {"schema": {"type": "string"}}
    return found


async def _answers(served: Served, terms: Terms, text: str) -> tuple[Answer, tuple[Part, ...]]:
    if not text.strip():
        raise NothingToRead("is empty; type the text to be labelled")
    answer = await served.engine.predict(text, terms)
    return answer, await explain(served.engine, text, answer, terms)


def _text_of(body: bytes) -> str:
    """
    Raises:
        Problem: it is no form with one text in UTF-8.
    """
    try:
        fields = parse_qs(
            body.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_FIELDS,
        )
    except ValueError as error:
        raise unprocessable([Fault(pointer="#", detail=f"is no form: {error}")]) from error
    texts = fields.get("text", [])
    if len(texts) != 1:
        raise unprocessable([Fault(pointer="#/text", detail=f"is there {len(texts)} times")])
    return texts[0]


def _page(
    service: Service,
    text: str,
    answer: Answer | None = None,
    parts: Sequence[Part] = (),
    *,
    status: int = 200,
    wrong: str | None = None,
) -> Response:
    from retort.core.report import render  # takes as long as all else here, and few need it

    name = service.models.default
    facts: dict[str, Any] = {
        "title": f"{name} · Retort",
        "name": name,
        "model": service.first.model,
        "verdicts": [] if wrong is None else [(wrong, False)],
        "figures": {},
        "text": text,
        "answer": answer,
        "shares": [],
        "words": _shaded(parts),
    }
    if answer is not None:
        facts["shares"] = sorted(answer.by_label.items(), key=lambda one: -one[1])
    page = render("retort.serve.protocols.page", "classify.html", **facts)
    return HTMLResponse(page, status, headers=_HEADERS)


def _shaded(parts: Sequence[Part]) -> list[_Word]:
    """The strongest word has the strongest shade."""
    strongest = max((abs(part.weight) for part in parts if part.weight is not None), default=0.0)
    found = []
    for part in parts:
        weight = part.weight or 0.0
        shade = round(_SHADES * weight / strongest) if strongest else 0
        told = "" if part.weight is None else f"{weight:+.3f}"
        found.append(_Word(part.text, shade, told))
    return found
