"""Strategic merge patch: a merge that knows by which key the items of a list are told apart
(https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/)."""

import copy
from typing import Any

from retort.launch.cluster.kinds.errors import JSONObject, bad_request
from retort.launch.cluster.kinds.fields import FieldType, ListOf
from retort.launch.cluster.patches.apply import ordered
from retort.launch.cluster.patches.field_sets import Element, child_type

_HOW = "$patch"
_RETAIN = "$retainKeys"
_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"
_WAYS = ("replace", "delete", "merge")


def strategic_merge(value: JSONObject, patch: JSONObject, kind: FieldType) -> JSONObject:
    """An object with the changes of a patch.

    Raises:
        ApiError: the patch has a directive that there is not, or an item without its key (400).
    """
    result = _merged(value, patch, kind)
    return {} if result is None else result


def _merged(value: JSONObject, patch: JSONObject, kind: FieldType) -> JSONObject | None:
    how = _way(patch)
    if how == "delete":
        return None
    if how == "replace":
        return {key: copy.deepcopy(one) for key, one in patch.items() if key != _HOW}
    result = dict(value)
    if _RETAIN in patch:
        kept = patch[_RETAIN]
        if not isinstance(kept, list):
            raise bad_request(f"{_RETAIN}: is not a list")
        result = {key: one for key, one in result.items() if key in kept}
    for key, one in patch.items():
        if key.startswith(_DELETE):
            field = key.removeprefix(_DELETE)
            if not isinstance(one, list):
                raise bad_request(f"{key}: is not a list")
            result[field] = [item for item in result.get(field) or () if item not in one]
    for key, one in patch.items():
        if not key.startswith("$"):
            result[key] = _field(result.get(key), one, child_type(kind, key))
    result = {key: one for key, one in result.items() if one is not None}
    for key, one in patch.items():
        if key.startswith(_ORDER):
            field = key.removeprefix(_ORDER)
            if result.get(field):
                listed = child_type(kind, field)
                result[field] = _in_order(result[field], one, value.get(field) or [], listed)
    return result


def _field(value: Any, patch: Any, kind: FieldType) -> Any:
    if isinstance(patch, dict):
        return _merged(value if isinstance(value, dict) else {}, patch, kind)
    if not isinstance(patch, list):
        return patch
    there = value if isinstance(value, list) else []
    if isinstance(kind, ListOf) and kind.patch_key:
        return _items(there, patch, kind)
    if isinstance(kind, ListOf) and kind.merges_scalars:
        return [*there, *(one for one in patch if one not in there)]
    return copy.deepcopy(patch)


def _items(value: list[Any], patch: list[Any], kind: ListOf) -> list[Any]:
    if any(isinstance(one, dict) and _way(one) == "replace" and len(one) == 1 for one in patch):
        return [copy.deepcopy(one) for one in patch if _HOW not in one]
    result = list(value)
    for one in patch:
        if not isinstance(one, dict):
            raise bad_request(f"an item of a list that is merged by {kind.patch_key} is not a map")
        if kind.patch_key not in one:
            raise bad_request(f"map: {one} does not contain declared merge key: {kind.patch_key}")
        wanted = one[kind.patch_key]
        places = [
            number
            for number, item in enumerate(result)
            if isinstance(item, dict) and item.get(kind.patch_key) == wanted
        ]
        if not places:
            made = _merged({}, one, kind.items)
            if made is not None:
                result.append(made)
            continue
        changed = _merged(result[places[0]], one, kind.items)
        if changed is not None:
            result[places[0]] = changed
        else:
            result = [item for number, item in enumerate(result) if number not in places]
    return result


def _in_order(value: list[Any], order: Any, before: list[Any], kind: FieldType) -> list[Any]:
    if not isinstance(order, list):
        raise bad_request(f"{_ORDER}: is not a list")
    key = kind.patch_key if isinstance(kind, ListOf) else ""

    def named(items: list[Any]) -> list[Element]:
        return [
            ("k", item.get(key)) if key and isinstance(item, dict) else ("v", item)
            for item in items
        ]

    found = dict(zip(named(value), value, strict=True))
    if len(found) != len(value):
        return value  # items that cannot be told apart stay where they are
    there = [one for one in named(before) if one in found]
    rest = [one for one in found if one not in there]
    wanted = [one for one in named(order) if one in found]
    return [found[one] for one in ordered([*there, *rest], wanted)]


def _way(patch: JSONObject) -> str:
    how = patch.get(_HOW, "merge")
    if how not in _WAYS:
        raise bad_request(f"Unknown patch type found: {how}")
    return str(how)
