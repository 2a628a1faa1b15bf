"""Answers without an end: watches and logs."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass

import orjson

from retort.launch.cluster.api.request import Form
from retort.launch.cluster.kinds.errors import ApiError, JSONObject
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.table import POD
from retort.launch.cluster.logs.logs import LogReader, has_ended
from retort.launch.cluster.objects.reading import Listing, Reader, Watch, WatchEvent
from retort.launch.cluster.tables.tables import only_metadata, table

_BOOKMARK_S = 60.0
_FOLLOW_S = 0.1
"""Between two looks at a log that is followed."""
_INITIAL_EVENTS_END = "k8s.io/initial-events-end"


@dataclass(frozen=True)
class WatchOptions:
    """How a watch is told.

    Attributes:
        listing: what there is at first; None where the client knows it.
        form: in which objects are sent.
        bookmarks: whether it is told now and then how far all was told.
        marks_end: whether it is told when all of `listing` was.
        seconds: after which it ends; None for never.
    """

    kind: Kind
    listing: Listing | None
    form: Form
    bookmarks: bool
    marks_end: bool
    seconds: int | None


class Closing:
    """Tells streams that the server ends. Of the server's own thread."""

    def __init__(self) -> None:
        self.begun = False
        self._streams: set[asyncio.Event] = set()

    def begin(self) -> None:
        """End all streams."""
        self.begun = True
        for one in self._streams:
            one.set()

    def waking(self, woken: asyncio.Event) -> Callable[[], None]:
        """Have an event set when streams are to end.

        Returns:
            What ends that.
        """
        self._streams.add(woken)
        return lambda: self._streams.discard(woken)


async def watch_lines(
    watch: Watch, options: WatchOptions, closing: Closing
) -> AsyncIterator[bytes]:
    """The lines of a watch, each a JSON object with `type` and `object`."""
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()

    def wake() -> None:
        with suppress(RuntimeError):  # the server has ended, and nobody is told any more
            loop.call_soon_threadsafe(woken.set)

    end, unwake = watch.listen(wake), closing.waking(woken)
    until = None if options.seconds is None else time.monotonic() + options.seconds
    try:
        if options.listing is not None:
            for item in options.listing.items:
                yield _line("ADDED", _formed(options, item))
            if options.marks_end:
                yield _bookmark(options, watch.revision, {_INITIAL_EVENTS_END: "true"})
        while True:
            woken.clear()
            for event in watch.pending():
                yield _event(options, event)
            left = _BOOKMARK_S if until is None else min(_BOOKMARK_S, until - time.monotonic())
            if not closing.begun:
                with suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), max(left, 0))
            is_over = closing.begun or (until is not None and time.monotonic() >= until)
            if options.bookmarks and (is_over or not woken.is_set()):
                yield _bookmark(options, watch.revision, {})
            if is_over:
                return
    except ApiError as error:
        yield _line("ERROR", error.status())
    finally:
        unwake()
        end()
        watch.close()


async def log_pieces(
    reader: Reader, log: LogReader, pod: JSONObject, container: str, closing: Closing
) -> AsyncIterator[bytes]:
    """A log, and what is added to it until the container has ended."""
    options, metadata = log.options, pod["metadata"]
    try:
        while True:
            # Asked before the file is read, so that what was written until the end is read as well.
            found = reader.find(POD, metadata["namespace"], metadata["name"])
            is_same = found is not None and found["metadata"]["uid"] == metadata["uid"]
            ended = options.previous or has_ended(found if is_same else None, container)
            piece = await asyncio.to_thread(log.read)
            if piece:
                yield piece
            if ended or not options.follow or log.is_full or closing.begun:
                return
            await asyncio.sleep(_FOLLOW_S)
    finally:
        log.close()


def _event(options: WatchOptions, event: WatchEvent) -> bytes:
    return _line(event.type, _formed(options, event.item))


def _formed(options: WatchOptions, item: JSONObject) -> JSONObject:
    if options.form.words == "table":
        metadata = {"resourceVersion": item["metadata"].get("resourceVersion", "")}
        return table(options.kind, [item], metadata, options.form.included)
    return only_metadata(item) if options.form.words == "metadata" else item


def _bookmark(options: WatchOptions, revision: int, annotations: dict[str, str]) -> bytes:
    metadata: JSONObject = {"resourceVersion": str(revision), "creationTimestamp": None}
    if annotations:
        metadata["annotations"] = annotations
    item = {
        "kind": options.kind.kind,
        "apiVersion": options.kind.api_version,
        "metadata": metadata,
    }
    if options.form.words == "table":
        shown = table(options.kind, [], {"resourceVersion": str(revision)}, options.form.included)
        shown["rows"] = [
            {
                "cells": ["", *("" for _ in shown["columnDefinitions"][1:])],
                "object": only_metadata(item),
            }
        ]
        return _line("BOOKMARK", shown)
    return _line("BOOKMARK", only_metadata(item) if options.form.words == "metadata" else item)


def _line(kind: str, item: JSONObject) -> bytes:
    return orjson.dumps({"type": kind, "object": item}) + b"\n"
