"""Patches and server-side apply, held to their specifications."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retort.launch.cluster.kinds.errors import ApiError, JSONObject
from retort.launch.cluster.kinds.fields import struct
from retort.launch.cluster.kinds.table import kind_of
from retort.launch.cluster.patches.apply import applied
from retort.launch.cluster.patches.field_sets import compare, decode, encode, owned
from retort.launch.cluster.patches.json_patches import json_patch, merge_patch
from retort.launch.cluster.patches.managed import Writer
from retort.launch.cluster.patches.strategic import strategic_merge

POD = struct("V1Pod")
NAMES = st.sampled_from(["a", "b", "c"])
MAPS = st.dictionaries(NAMES, st.sampled_from(["1", "2"]), max_size=3)


def _name(one: Any) -> Any:
    return one["name"]


CONTAINERS: st.SearchStrategy[Any] = st.lists(
    st.fixed_dictionaries(
        {"name": NAMES},
        optional={
            "image": st.sampled_from(["i", "j"]),
            "env": st.lists(
                st.fixed_dictionaries({"name": NAMES, "value": st.sampled_from(["1", "2"])}),
                max_size=2,
                unique_by=_name,
            ),
            "args": st.lists(st.sampled_from(["x", "y"]), max_size=2),
        },
    ),
    max_size=3,
    unique_by=_name,
)
PODS: st.SearchStrategy[JSONObject] = st.fixed_dictionaries(
    {
        "apiVersion": st.just("v1"),
        "kind": st.just("Pod"),
        "metadata": st.fixed_dictionaries({"name": st.just("p")}, optional={"labels": MAPS}),
    },
    optional={
        "spec": st.fixed_dictionaries({}, optional={"containers": CONTAINERS, "nodeSelector": MAPS})
    },
)


@pytest.mark.parametrize(
    ("value", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patches_of_the_specification(value: Any, patch: Any, result: Any) -> None:
    assert merge_patch(value, patch) == result


@pytest.mark.parametrize(
    ("value", "operations", "result"),
    [
        ({"a": [1, 3]}, [("add", "/a/1", 2)], {"a": [1, 2, 3]}),
        ({"a": [1]}, [("add", "/a/-", 2)], {"a": [1, 2]}),
        ({"a": 1, "b": 2}, [("remove", "/a", None)], {"b": 2}),
        ({"a": {"b": 1}}, [("replace", "/a/b", 2)], {"a": {"b": 2}}),
        ({"a": [1, 2]}, [("replace", "/a/0", 9)], {"a": [9, 2]}),
        ({"a~b": 1, "c/d": 2}, [("remove", "/a~0b", None), ("replace", "/c~1d", 3)], {"c/d": 3}),
        ({"a": 1}, [("test", "/a", 1), ("add", "/b", {"c": 2})], {"a": 1, "b": {"c": 2}}),
    ],
)
def test_operations_of_a_json_patch(value: Any, operations: Any, result: Any) -> None:
    patch = [{"op": what, "path": path, "value": one} for what, path, one in operations]
    before = copy.deepcopy(value)
    assert json_patch(value, patch) == result
    assert value == before


def test_parts_are_moved_and_copied() -> None:
    moved = json_patch({"a": {"b": 1}}, [{"op": "move", "from": "/a/b", "path": "/c"}])
    assert moved == {"a": {}, "c": 1}
    copied = json_patch({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}])
    assert copied == {"a": [1], "b": [1]}


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ({"op": "remove", "path": "/nothing"}, 422),
        ({"op": "replace", "path": "/nothing", "value": 1}, 422),
        ({"op": "add", "path": "/list/7", "value": 1}, 422),
        ({"op": "add", "path": "/list/01", "value": 1}, 422),
        ({"op": "test", "path": "/list", "value": []}, 422),
        ({"op": "move", "from": "/list", "path": "/list/0"}, 422),
        ({"op": "remove", "path": ""}, 422),
        ({"op": "add", "path": "list", "value": 1}, 400),
        ({"op": "turn", "path": "/list"}, 400),
        ({"op": "add", "path": "/list"}, 400),
        ("remove", 400),
    ],
)
def test_an_operation_that_cannot_be_done_is_refused(operation: Any, code: int) -> None:
    with pytest.raises(ApiError) as refused:
        json_patch({"list": [1]}, [operation])
    assert refused.value.code == code


def pod(*containers: JSONObject, **spec: Any) -> JSONObject:
    return {"spec": {"containers": list(containers), **spec}}


@pytest.mark.parametrize(
    ("value", "patch", "result"),
    [
        (
            pod({"name": "a", "image": "1"}, {"name": "b", "image": "1"}),
            pod({"name": "b", "image": "2"}, {"name": "c", "image": "3"}),
            pod(
                {"name": "a", "image": "1"},
                {"name": "b", "image": "2"},
                {"name": "c", "image": "3"},
            ),
        ),
        (
            pod({"name": "a"}, {"name": "b"}),
            pod({"name": "a", "$patch": "delete"}),
            pod({"name": "b"}),
        ),
        (
            pod({"name": "a"}, {"name": "b"}),
            pod({"name": "c"}, {"$patch": "replace"}),
            pod({"name": "c"}),
        ),
        (
            pod({"name": "a"}, {"name": "b"}),
            {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}},
            pod({"name": "b"}, {"name": "a"}),
        ),
        (
            pod({"name": "a", "args": ["1", "2"]}),
            pod({"name": "a", "args": ["3"]}),
            pod({"name": "a", "args": ["3"]}),
        ),
        (
            pod(volumes=[{"name": "v", "emptyDir": {}}]),
            {"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "secret"], "secret": {}}]}},
            pod(volumes=[{"name": "v", "secret": {}}]),
        ),
        (
            {"metadata": {"finalizers": ["x/a", "x/b"]}},
            {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x/a"], "finalizers": ["x/c"]}},
            {"metadata": {"finalizers": ["x/b", "x/c"]}},
        ),
        (
            {"metadata": {"labels": {"a": "1", "b": "2"}}},
            {"metadata": {"labels": {"a": None, "c": "3"}}},
            {"metadata": {"labels": {"b": "2", "c": "3"}}},
        ),
        (
            {"metadata": {"labels": {"a": "1"}}},
            {"metadata": {"labels": {"$patch": "replace", "b": "2"}}},
            {"metadata": {"labels": {"b": "2"}}},
        ),
        (pod(nodeSelector={"a": "1"}), {"spec": {"nodeSelector": None}}, pod()),
    ],
)
def test_strategic_merge_patches(value: JSONObject, patch: JSONObject, result: JSONObject) -> None:
    before = copy.deepcopy(value)
    assert strategic_merge(value, patch, POD) == result
    assert value == before


def test_an_item_without_its_key_is_refused() -> None:
    with pytest.raises(ApiError, match="does not contain declared merge key: name"):
        strategic_merge(pod({"name": "a"}), pod({"image": "x"}), POD)


def apply(
    before: JSONObject | None, config: JSONObject, manager: str, force: bool = True
) -> JSONObject:
    return applied(kind_of("v1", "Pod"), before, config, Writer(manager, "", "now"), force=force)


def without_managers(item: JSONObject) -> JSONObject:
    metadata = {key: one for key, one in item["metadata"].items() if key != "managedFields"}
    return {**item, "metadata": metadata}


@given(PODS)
def test_a_set_of_fields_is_read_as_it_was_written(item: JSONObject) -> None:
    fields = frozenset(owned(item, POD))
    assert frozenset(decode(encode(fields))) == fields


@given(PODS)
def test_nothing_differs_from_itself(item: JSONObject) -> None:
    found = compare(item, copy.deepcopy(item), POD)
    assert not found.changed
    assert not found.removed


@given(PODS, PODS)
def test_what_is_applied_is_there_and_once_more_changes_nothing(
    first: JSONObject, second: JSONObject
) -> None:
    live = apply(apply(None, first, "one"), second, "two")
    assert strategic_merge(live, second, POD) == live, "all that was applied last is there"
    assert apply(live, second, "two", force=False) == live


@given(PODS, PODS)
def test_an_only_applier_has_what_it_wants_and_no_more(
    first: JSONObject, second: JSONObject
) -> None:
    live = without_managers(apply(apply(None, first, "one"), second, "one"))
    found = compare(live, second, POD)
    assert not found.modified
    # Of what it no longer wants nothing is left, apart from what it is kept in.
    assert all(value in ({}, []) for value in leaves_not_in(live, second))


def leaves_not_in(value: Any, other: Any) -> list[Any]:
    if isinstance(value, dict):
        there = other if isinstance(other, dict) else {}
        return [
            leaf
            for key, one in value.items()
            for leaf in (
                [one]
                if key not in there and one in ({}, [])
                else leaves_not_in(one, there.get(key))
            )
        ]
    if (
        isinstance(value, list)
        and isinstance(other, list)
        and all(isinstance(one, dict) for one in value)
    ):
        named = {one["name"]: one for one in other if isinstance(one, dict)}
        return [leaf for one in value for leaf in leaves_not_in(one, named.get(one["name"]))]
    return [] if value == other else [value]


@given(PODS, PODS)
def test_without_force_two_appliers_get_what_both_want_or_a_conflict_that_names_the_fields(
    first: JSONObject, second: JSONObject
) -> None:
    live = apply(None, first, "one")
    try:
        both = apply(live, second, "two", force=False)
    except ApiError as error:
        fields = [one["field"] for one in error.details["causes"]]
        assert error.code == 409
        assert fields
        assert all(field in error.message for field in fields)
        return
    for config in (first, second):
        assert strategic_merge(both, config, POD) == both
