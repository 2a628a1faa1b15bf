"""Requests for objects: what each method does."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from retort.launch.cluster.api.answers import answer, answer_list, json_response
from retort.launch.cluster.api.asked import APPLY_PATCH, Asked, change_of, deletion_in, object_of
from retort.launch.cluster.api.request import (
    JSON_TYPE,
    YAML_TYPES,
    Options,
    Target,
    media_type,
    read_object,
)
from retort.launch.cluster.api.scale import scale_of, scaled
from retort.launch.cluster.api.streams import Closing, WatchOptions, log_pieces, watch_lines
from retort.launch.cluster.kinds.errors import (
    ApiError,
    JSONObject,
    bad_request,
)
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.table import NAMESPACE, POD
from retort.launch.cluster.logs.logs import LogOptions, LogReader, container_of, current_file, since
from retort.launch.cluster.objects.deletion import (
    delete,
    delete_all,
)
from retort.launch.cluster.objects.reading import Page
from retort.launch.cluster.objects.registry import Registry


class Resources:
    """Answers requests for objects.

    Args:
        logs: the folder of the logs of containers.
        closing: begun when the server ends.
    """

    def __init__(self, registry: Registry, logs: Path, closing: Closing) -> None:
        self._registry = registry
        self._logs = logs
        self._closing = closing

    async def handle(self, request: Request, target: Target) -> Response:
        """Answer a request.

        Raises:
            ApiError: it is refused.
            StorageError: the disk does not take what it writes.
        """
        asked = Asked(
            target,
            Options(request.query_params),
            await request.body(),
            request.headers.get("content-type", ""),
            request.headers.get("accept", ""),
            request.headers.get("user-agent", ""),
        )
        method = request.method
        if method == "GET" and target.subresource == "log" and target.kind == POD:
            return await self._log(asked)
        if target.subresource == "scale" and target.kind.replicas_at:
            return await run_in_threadpool(self._scale, asked, method)
        has_status = target.kind.has_status and target.subresource == "status"
        is_finalize = target.kind == NAMESPACE and target.subresource == "finalize"
        if target.subresource and not has_status and not is_finalize:
            raise unknown_path()
        if method in ("GET", "HEAD"):
            if asked.options.flag("watch"):
                return await self._watch(asked)
            return await run_in_threadpool(self._get if target.name else self._list, asked)
        by_method = self._of_one if target.name else self._of_all
        handler = by_method.get(method)
        if handler is None or (target.subresource and method == "DELETE"):
            raise not_allowed()
        return await run_in_threadpool(handler, asked)

    @property
    def _of_one(self) -> dict[str, Callable[[Asked], Response]]:
        return {"PUT": self._update, "PATCH": self._patch, "DELETE": self._delete}

    @property
    def _of_all(self) -> dict[str, Callable[[Asked], Response]]:
        return {"POST": self._create, "DELETE": self._delete_all}

    def _get(self, asked: Asked) -> Response:
        target = asked.target
        item = self._registry.get(target.kind, target.namespace, target.name)
        return self._answer(asked, item)

    def _list(self, asked: Asked) -> Response:
        target, options = asked.target, asked.options
        listing = self._registry.list(target.kind, options.selection(target), options.page())
        return answer_list(target.kind, listing, asked.form)

    def _create(self, asked: Asked) -> Response:
        target = asked.target
        item = object_of(asked)
        namespace = target.namespace or (item.get("metadata") or {}).get("namespace", "")
        if target.kind.namespaced and not target.namespace:
            raise bad_request("an empty namespace may not be set during creation")
        made = self._registry.create(target.kind, namespace, item, asked.writing())
        return self._answer(asked, made, HTTPStatus.CREATED)

    def _update(self, asked: Asked) -> Response:
        target = asked.target
        item = object_of(asked)
        written = self._registry.update(
            target.kind, target.namespace, target.name, item, asked.writing()
        )
        return self._answer(asked, written)

    def _patch(self, asked: Asked) -> Response:
        target, media = asked.target, media_type(asked.content_type)
        if media == APPLY_PATCH:
            return self._apply(asked)
        change = change_of(target.kind, asked.body, media)
        written = self._registry.modify(
            target.kind, target.namespace, target.name, change, asked.writing()
        )
        return self._answer(asked, written)

    def _apply(self, asked: Asked) -> Response:
        target, options = asked.target, asked.options
        if not options.query.get("fieldManager"):
            raise bad_request(
                'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: '
                "is required for apply patch"
            )
        config = read_object(asked.body, asked.content_type, YAML_TYPES)
        for key in ("apiVersion", "kind"):
            if not config.get(key):
                raise bad_request(f"{key} must be set in an apply patch")
        item, made = self._registry.apply(
            target.kind, target.namespace, target.name, config, asked.writing()
        )
        return self._answer(asked, item, HTTPStatus.CREATED if made else HTTPStatus.OK)

    def _delete(self, asked: Asked) -> Response:
        target = asked.target
        kind, name = target.kind, target.name
        item, gone = delete(self._registry, kind, target.namespace, name, deletion_in(asked))
        if not gone or kind == POD:
            return self._answer(asked, item)
        details = {"name": name, "kind": kind.plural, "uid": item["metadata"]["uid"]}
        if kind.group:
            details["group"] = kind.group
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": details,
        }
        return json_response(status, warnings=asked.warnings)

    def _delete_all(self, asked: Asked) -> Response:
        target = asked.target
        listing = delete_all(
            self._registry, target.kind, asked.options.selection(target), deletion_in(asked)
        )
        return answer_list(target.kind, listing, asked.form)

    def _scale(self, asked: Asked, method: str) -> Response:
        target, kind = asked.target, asked.target.kind
        at = (kind, target.namespace, target.name)
        if method == "GET":
            return json_response(scale_of(kind, self._registry.get(*at)))
        if method == "PUT":
            wanted = object_of(asked)
            change = partial(scaled, kind, scale=wanted)
        elif method == "PATCH":
            patch = change_of(kind, asked.body, media_type(asked.content_type))
            change = partial(_rescaled, kind, patch)
        else:
            raise not_allowed()
        writing = replace(asked.writing(), subresource="")
        return json_response(scale_of(kind, self._registry.modify(*at, change, writing)))

    async def _watch(self, asked: Asked) -> Response:
        target, options = asked.target, asked.options
        selection, revision = options.selection(target), options.number("resourceVersion")
        wants_all = options.flag("sendInitialEvents")
        if wants_all and options.query.get("resourceVersionMatch") != "NotOlderThan":
            raise bad_request(
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            )
        is_told_all = wants_all or (not revision and "sendInitialEvents" not in options.query)
        listing = None
        if is_told_all:
            listing = await run_in_threadpool(self._registry.list, target.kind, selection, Page())
        start = listing.revision if listing else revision or None
        watch = self._registry.watch(target.kind, selection, start)
        how = WatchOptions(
            target.kind,
            listing,
            asked.form,
            bookmarks=options.flag("allowWatchBookmarks"),
            marks_end=wants_all,
            seconds=options.number("timeoutSeconds"),
        )
        lines = watch_lines(watch, how, self._closing)
        return StreamingResponse(lines, media_type=JSON_TYPE)

    async def _log(self, asked: Asked) -> Response:
        target, options = asked.target, asked.options
        pod = self._registry.get(POD, target.namespace, target.name)
        container = container_of(pod, options.query.get("container", ""))
        wanted = LogOptions(
            options.number("tailLines"),
            since(options.number("sinceSeconds"), options.query.get("sinceTime", "")),
            options.number("limitBytes"),
            options.flag("timestamps"),
            options.flag("previous"),
            options.flag("follow"),
        )
        log = LogReader(current_file(self._logs, pod, container, wanted.previous), wanted)
        pieces = log_pieces(self._registry, log, pod, container, self._closing)
        return StreamingResponse(pieces, media_type="text/plain")

    def _answer(
        self, asked: Asked, item: JSONObject, status: HTTPStatus = HTTPStatus.OK
    ) -> Response:
        return answer(asked.target.kind, item, asked.form, status, asked.warnings)


def _rescaled(
    kind: Kind, patch: Callable[[JSONObject], JSONObject], item: JSONObject
) -> JSONObject:
    return scaled(kind, item, patch(scale_of(kind, item)))


def not_allowed() -> ApiError:
    """A method that does nothing there."""
    return ApiError(
        HTTPStatus.METHOD_NOT_ALLOWED,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    )


def unknown_path() -> ApiError:
    """There is nothing at a URL."""
    return ApiError(
        HTTPStatus.NOT_FOUND, "NotFound", "the server could not find the requested resource"
    )
