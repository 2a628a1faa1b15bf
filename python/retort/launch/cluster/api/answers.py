"""Objects as answers, in the form that was asked for."""

from collections.abc import Sequence
from http import HTTPStatus

import orjson
from starlette.responses import Response

from retort.launch.cluster.api.request import JSON_TYPE, Form
from retort.launch.cluster.kinds.errors import ApiError, JSONObject
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.objects.reading import Listing
from retort.launch.cluster.tables.tables import only_metadata, table


def json_response(
    item: JSONObject | None,
    status: HTTPStatus = HTTPStatus.OK,
    warnings: Sequence[str] = (),
) -> Response:
    """An object as it is."""
    response = Response(orjson.dumps(item), int(status), media_type=JSON_TYPE)
    for one in warnings:
        text = one.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.append("warning", f'299 - "{text}"')
    return response


def refusal(error: ApiError) -> Response:
    """Why there is none."""
    response = json_response(error.status(), error.code)
    if error.code == HTTPStatus.UNAUTHORIZED:
        response.headers["www-authenticate"] = "Bearer"
    return response


def answer(
    kind: Kind,
    item: JSONObject,
    form: Form,
    status: HTTPStatus = HTTPStatus.OK,
    warnings: Sequence[str] = (),
) -> Response:
    """One object."""
    if form.words == "table":
        metadata = {"resourceVersion": item["metadata"].get("resourceVersion", "")}
        shown = table(kind, [item], metadata, form.included)
    else:
        shown = only_metadata(item) if form.words == "metadata" else item
    return json_response(shown, status, warnings)


def answer_list(kind: Kind, listing: Listing, form: Form) -> Response:
    """Several objects."""
    metadata: JSONObject = {"resourceVersion": str(listing.revision)}
    if listing.token:
        metadata |= {"continue": listing.token, "remainingItemCount": listing.remaining}
    if form.words == "table":
        return json_response(table(kind, listing.items, metadata, form.included))
    if form.words == "metadata":
        shown: JSONObject = {
            "kind": "PartialObjectMetadataList",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata,
            "items": [only_metadata(item) for item in listing.items],
        }
    else:
        shown = {
            "kind": f"{kind.kind}List",
            "apiVersion": kind.api_version,
            "metadata": metadata,
            "items": listing.items,
        }
    return json_response(shown)
