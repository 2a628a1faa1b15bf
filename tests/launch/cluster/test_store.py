"""Objects, revisions and watches, whatever is written in whatever order."""

import os
import sqlite3
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retort.core.errors import UserError
from retort.launch.cluster.kinds.errors import ApiError
from retort.launch.cluster.kinds.table import NAMESPACE, kind_of
from retort.launch.cluster.objects.deletion import delete
from retort.launch.cluster.objects.reading import WHOLE, Page, WatchEvent
from retort.launch.cluster.objects.registry import Registry
from retort.launch.cluster.objects.selectors import Selection
from retort.launch.cluster.objects.writing import Writing
from retort.launch.cluster.store.store import Key, RevisionForgotten, Store

CONFIG_MAP = kind_of("v1", "ConfigMap")
WRITES = st.lists(
    st.tuples(
        st.sampled_from(["put", "patch", "apply", "delete"]),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["in", "out"]),
        st.integers(0, 2),
    ),
    max_size=25,
)


def registry_at(path: Path, history: int = 1000) -> Registry:
    registry = Registry(Store(path, history))
    if registry.find(NAMESPACE, "", "default") is None:
        registry.create(NAMESPACE, "", {"metadata": {"name": "default"}})
    return registry


def write(registry: Registry, how: str, name: str, label: str, value: int) -> None:
    """One of the ways to write, which may find nothing to do."""
    data = {"n": str(value)}
    item = {"metadata": {"name": name, "labels": {"is": label}}, "data": data}
    try:
        if how == "delete":
            delete(registry, CONFIG_MAP, "default", name)
        elif how == "apply":
            forced = Writing(manager="applier", force=True)
            registry.apply(CONFIG_MAP, "default", name, item, forced)
        elif how == "patch":
            registry.modify(CONFIG_MAP, "default", name, lambda one: {**one, "data": data})
        elif registry.find(CONFIG_MAP, "default", name) is None:
            registry.create(CONFIG_MAP, "default", item)
        else:
            registry.update(CONFIG_MAP, "default", name, item)
    except ApiError as error:
        assert error.reason == "NotFound"


def followed(state: dict[str, Any], events: list[WatchEvent]) -> None:
    """What a client makes of a watch; it complains where an event does not fit what it knows."""
    for event in events:
        name = event.item["metadata"]["name"]
        assert (name in state) == (event.type != "ADDED"), event
        assert event.item["metadata"]["resourceVersion"] == str(event.revision)
        if event.type == "DELETED":
            del state[name]
        else:
            state[name] = event.item


def state_of(registry: Registry, selection: Selection, page: Page = WHOLE) -> dict[str, Any]:
    items = registry.list(CONFIG_MAP, selection, page).items
    return {one["metadata"]["name"]: one for one in items}


@settings(deadline=None)
@given(WRITES, st.integers(0, 25), st.sampled_from(["", "is=in", "is!=in"]))
def test_whoever_watches_from_any_moment_knows_the_state_of_every_later_one(
    writes: list[tuple[str, str, str, int]], start: int, labels: str
) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "objects"
        registry = registry_at(path)
        selection = Selection("default", labels)
        for one in writes[:start]:
            write(registry, *one)
        listing = registry.list(CONFIG_MAP, selection)
        state = {one["metadata"]["name"]: one for one in listing.items}
        watch = registry.watch(CONFIG_MAP, selection, listing.revision)
        moments = {}
        for one in writes[start:]:
            write(registry, *one)
            followed(state, watch.pending())
            assert state == state_of(registry, selection)
            moments[registry.store.revision] = dict(state)
        revision = registry.store.revision
        registry.store.close()
        # After a restart all of it is the same, and every moment can still be read.
        again = registry_at(path)
        assert again.store.revision == revision
        assert state_of(again, selection) == state
        for moment, then in moments.items():
            assert state_of(again, selection, Page(revision=moment)) == then
        from_start: dict[str, Any] = {one["metadata"]["name"]: one for one in listing.items}
        followed(from_start, again.watch(CONFIG_MAP, selection, listing.revision).pending())
        assert from_start == state
        again.store.close()


@settings(deadline=None)
@given(WRITES)
def test_every_write_that_changes_something_has_a_revision_of_its_own(
    writes: list[tuple[str, str, str, int]],
) -> None:
    with TemporaryDirectory() as directory:
        registry = registry_at(Path(directory) / "objects")
        for one in writes:
            before, known = registry.store.revision, state_of(registry, Selection())
            write(registry, *one)
            changed = state_of(registry, Selection()) != known
            assert registry.store.revision == before + changed
        registry.store.close()


def test_what_is_forgotten_is_refused_and_nothing_else(tmp_path: Path) -> None:
    registry = registry_at(tmp_path / "objects", history=3)
    for number in range(6):
        write(registry, "put", "a", "in", number)
    now = registry.store.revision
    assert [one.revision for one in registry.watch(CONFIG_MAP, since=now - 3).pending()] == [
        *(now - 2, now - 1, now)
    ]
    with pytest.raises(ApiError, match="too old resource version") as refused:
        registry.watch(CONFIG_MAP, since=now - 4).pending()
    assert (refused.value.code, refused.value.reason) == (410, "Expired")
    registry.store.close()
    store = Store(tmp_path / "objects", history=3)
    with pytest.raises(RevisionForgotten):
        store.changes_after(now - 4)
    assert len(store.changes_after(now - 3)) == 3
    store.close()


def test_a_loop_over_a_watch_is_told_at_once_and_ends_when_it_is_closed(tmp_path: Path) -> None:
    registry = registry_at(tmp_path / "objects")
    told: list[str] = []
    first, watch = threading.Event(), registry.watch(CONFIG_MAP)

    def follow() -> None:
        for event in watch:
            told.append(event.type)
            first.set()

    thread = threading.Thread(target=follow)
    thread.start()
    write(registry, "put", "a", "in", 1)
    first.wait()
    watch.close()
    thread.join()
    assert told == ["ADDED"]


def test_a_write_that_fails_leaves_no_trace(tmp_path: Path) -> None:
    store = Store(tmp_path / "objects", 10)
    key = Key("things", "", "a")
    store.write(key, lambda _: b"{}")
    before = store.revision

    def fail(_: int) -> bytes:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.write(key, fail)
    assert store.revision == before
    store.write(key, lambda _: b"[]")
    assert [one.after for one in store.changes_after(before)] == [b"[]"]
    store.close()


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "objects"
    with sqlite3.connect(file) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(UserError, match="was written by another version"):
        Store(file, 10)
    assert os.listdir(tmp_path) == ["objects"]
