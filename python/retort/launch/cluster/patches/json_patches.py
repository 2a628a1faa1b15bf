"""Patches that know nothing of what they change: JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7386)."""

import copy
import re
from http import HTTPStatus
from typing import Any

from retort.launch.cluster.kinds.errors import ApiError, JSONObject, bad_request

_MOST = 10_000
"""Operations of one patch."""


def merge_patch(value: Any, patch: Any) -> Any:
    """A value with the changes of a JSON Merge Patch: null removes, maps are merged, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(value) if isinstance(value, dict) else {}
    for key, one in patch.items():
        if one is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), one)
    return result


def json_patch(value: JSONObject, patch: Any) -> JSONObject:
    """A value after the operations of a JSON Patch, in their order, all or none.

    Raises:
        ApiError: an operation cannot be read (400), or cannot be done (422).
    """
    if not isinstance(patch, list) or len(patch) > _MOST:
        raise bad_request(f"a JSON patch is a list of at most {_MOST} operations")
    result: Any = copy.deepcopy(value)
    for operation in patch:
        result = _done(result, operation)
    if not isinstance(result, dict):
        raise _impossible("the patch leaves no object")
    return result


def _done(value: Any, operation: Any) -> Any:
    if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
        raise bad_request(f"an operation of a JSON patch names op and path: {operation}")
    what, path = operation.get("op"), _pointer(operation["path"])
    if what in ("add", "replace", "test") and "value" not in operation:
        raise bad_request(f"an operation {what} of a JSON patch has a value: {operation}")
    if what == "test":
        if _at(value, path) != operation["value"]:
            raise _impossible(f"testing value {operation['path']} failed")
        return value
    if what == "replace":
        _at(value, path)
        return _put(_without(value, path), path, copy.deepcopy(operation["value"]))
    if what == "add":
        return _put(value, path, copy.deepcopy(operation["value"]))
    if what == "remove":
        return _without(value, path)
    if what in ("move", "copy"):
        start = _pointer(str(operation.get("from", "")))
        moved = copy.deepcopy(_at(value, start))
        if what == "move":
            if path[: len(start)] == start and path != start:
                raise _impossible(f"{_text(start)} cannot be moved into itself")
            value = _without(value, start)
        return _put(value, path, moved)
    raise bad_request(f"a JSON patch has no operation {what!r}")


def _pointer(text: str) -> list[str]:
    if text and not text.startswith("/"):
        raise bad_request(f"{text!r} is not a path of a JSON patch, which begins with /")
    return [one.replace("~1", "/").replace("~0", "~") for one in text.split("/")[1:]]


def _at(value: Any, path: list[str]) -> Any:
    for key in path:
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list):
            value = value[_index(key, len(value) - 1)]
        else:
            raise _impossible(f"missing value: {_text(path)}")
    return value


def _put(value: Any, path: list[str], new: Any) -> Any:
    if not path:
        return new
    parent, key = _at(value, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[key] = new
    elif isinstance(parent, list):
        parent.insert(len(parent) if key == "-" else _index(key, len(parent)), new)
    else:
        raise _impossible(f"{_text(path)} is inside of what has no parts")
    return value


def _without(value: Any, path: list[str]) -> Any:
    if not path:
        return None
    _at(value, path)
    parent, key = _at(value, path[:-1]), path[-1]
    if isinstance(parent, dict):
        del parent[key]
    else:
        del parent[_index(key, len(parent) - 1)]
    return value


def _index(text: str, last: int) -> int:
    if not re.fullmatch(r"0|[1-9]\d{0,8}", text, re.ASCII) or int(text) > last:
        raise _impossible(f"there is no item {text}")
    return int(text)


def _text(path: list[str]) -> str:
    return "/" + "/".join(path)


def _impossible(why: str) -> ApiError:
    return ApiError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Invalid",
        f"the server rejected our request due to an error in our request: {why}",
    )
