"""Whatever is sent is done or refused: nothing fails by a mistake of the server's own."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retort.launch.cluster.api.asked import (
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    change_of,
)
from retort.launch.cluster.api.request import JSON_TYPE, YAML_TYPES, read_object
from retort.launch.cluster.kinds.errors import ApiError, JSONObject
from retort.launch.cluster.kinds.fields import (
    FieldType,
    ListOf,
    MapOf,
    Scalar,
    Struct,
    struct,
)
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.table import KINDS, NAMESPACE
from retort.launch.cluster.objects.deletion import deletion_of
from retort.launch.cluster.objects.registry import Registry
from retort.launch.cluster.objects.writing import Writing
from retort.launch.cluster.protobuf.protobuf import read_protobuf
from retort.launch.cluster.store.store import Store
from retort.launch.cluster.tables.kind_columns import columns_of

TRIED = Writing(manager="any", dry_run=True, force=True)
OF_STATUS = Writing(manager="any", dry_run=True, subresource="status")
WORDS = st.sampled_from(
    [
        *("", "a", "b", "name", "metadata", "spec", "runPolicy", "elasticPolicy", "$patch"),
        *("$retainKeys", "$setElementOrder/containers", "delete", "replace", "TCP", "Never"),
        *("ExternalName", "Always", "RollingUpdate", "Worker", "pytorchReplicaSpecs", "1"),
    ]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats(-1, 1) | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=6,
)
MOSTLY = (
    "metadata",
    "spec",
    "status",
    "template",
    "containers",
    "name",
    "image",
    "ports",
    "selector",
)
_DEPTH = 9
_OF_SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": WORDS,
    "time": st.just("2026-01-31T12:00:00Z"),
    "int64": st.integers(-1, 3),
    "bool": st.booleans(),
    "float64": st.floats(0, 1),
    "quantity": st.sampled_from(["1", "2Gi", 1]),
}


@st.composite
def values(draw: st.DrawFn, kind: FieldType, depth: int = 0) -> Any:
    """Mostly what a field takes, now and then something else."""
    if depth > _DEPTH or draw(st.integers(0, 15)) == 15:
        return draw(ANYTHING)
    if isinstance(kind, Scalar):
        return draw(_OF_SCALARS[kind.word])
    if isinstance(kind, ListOf):
        return [draw(values(kind.items, depth + 1)) for _ in range(draw(st.integers(0, 2)))]
    if isinstance(kind, MapOf):
        return {
            key: draw(values(kind.values, depth + 1)) for key in draw(st.sets(WORDS, max_size=2))
        }
    if not isinstance(kind, Struct):
        return draw(ANYTHING)
    fields = sorted(kind.fields)
    keys = draw(st.sets(st.sampled_from(fields), max_size=2))
    keys |= {one for one in MOSTLY if one in fields and draw(st.integers(0, 3))}
    found = {key: draw(values(kind.fields[key], depth + 1)) for key in sorted(keys)}
    return found | (draw(st.dictionaries(WORDS, ANYTHING, max_size=2)) if not kind.strict else {})


@st.composite
def objects(draw: st.DrawFn) -> tuple[Kind, JSONObject]:
    """An object of a kind, whose name is one, so that what comes after that is looked at."""
    kind = draw(st.sampled_from(KINDS))
    item = draw(values(struct(kind.type_name)).filter(lambda one: isinstance(one, dict)))
    metadata = item.get("metadata")
    kept = metadata if isinstance(metadata, dict) and draw(st.booleans()) else {}
    for key in ("apiVersion", "kind"):
        item.pop(key, None)
    for key in ("namespace", "resourceVersion", "uid"):
        kept.pop(key, None)
    return kind, {**item, "metadata": {**kept, "name": "n"}}


OPERATIONS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "turn"]),
            "path": st.sampled_from(
                ["", "/", "/spec", "/spec/containers/0", "/metadata/labels", "/metadata", "x", 5]
            ),
            "from": st.sampled_from(["", "/spec", "/nothing", None]),
            "value": ANYTHING,
        },
    ),
    max_size=3,
)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    store = Store(tmp_path_factory.mktemp("objects") / "objects", 10)
    found = Registry(store)
    found.create(NAMESPACE, "", {"metadata": {"name": "default"}})
    yield found
    store.close()


def tried(write: Callable[[], Any]) -> Any:
    """What is done, or None where it is refused, as a status that says why."""
    try:
        return write()
    except ApiError as error:
        status = error.status()
        assert status["reason"]
        assert status["message"]
        assert 400 <= status["code"] < 500
        return None


@settings(deadline=None)
@given(objects(), ANYTHING | OPERATIONS)
def test_any_object_and_any_patch_is_taken_or_refused(
    registry: Registry, given_object: tuple[Kind, JSONObject], operations: Any
) -> None:
    kind, item = given_object
    at = (kind, "default", "n")
    made = tried(lambda: registry.create(kind, "default", item, TRIED))
    if made is not None:
        json.dumps([column.cell(made) for column in columns_of(kind)])
    tried(lambda: registry.apply(*at, item, TRIED))
    if made is None:
        return
    live = registry.create(kind, "default", item)
    try:
        version = live["metadata"]["resourceVersion"]
        newer = copy.deepcopy(item)
        newer["metadata"]["resourceVersion"] = version
        for writing in (TRIED, OF_STATUS):
            tried(lambda: registry.update(*at, newer, writing))  # noqa: B023 - called at once
        for media, patch in (
            (MERGE_PATCH, item),
            (STRATEGIC_PATCH, item),
            (MERGE_PATCH, operations),
            (JSON_PATCH, operations),
        ):
            body = json.dumps(patch).encode()
            change = tried(lambda: change_of(kind, body, media))  # noqa: B023
            if change is not None:
                tried(lambda: registry.modify(*at, change, TRIED))  # noqa: B023
        tried(lambda: registry.apply(*at, item, TRIED))
    finally:
        registry.remove(kind, live)


@settings(deadline=None)
@given(
    st.sampled_from([one for one in KINDS if not one.is_custom]), st.binary(max_size=80), ANYTHING
)
def test_any_bytes_and_any_options_are_read_or_refused(
    kind: Kind, body: bytes, options: Any
) -> None:
    for media in (JSON_TYPE, *YAML_TYPES):
        tried(lambda: read_object(body, media, (JSON_TYPE, *YAML_TYPES)))  # noqa: B023
    tried(lambda: read_protobuf(body, kind))
    tried(lambda: read_protobuf(b"k8s\x00" + body, kind))
    tried(lambda: read_protobuf(b"k8s\x00\x12" + bytes([len(body)]) + body, kind))
    named = {"propagationPolicy": options, "gracePeriodSeconds": options, "preconditions": options}
    tried(lambda: deletion_of(options if isinstance(options, dict) else named))
