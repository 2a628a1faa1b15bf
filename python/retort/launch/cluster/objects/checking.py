"""Whether an object has the fields of its kind, and values of their types."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from retort.launch.cluster.kinds.errors import ApiError, JSONObject, bad_request
from retort.launch.cluster.kinds.fields import (
    FieldType,
    ListOf,
    MapOf,
    Scalar,
    Struct,
    Untyped,
    struct,
)
from retort.launch.cluster.kinds.kind import Kind

Validation = Literal["Ignore", "Warn", "Strict"]
_DEPTH = 100
"""Levels of an object."""


def say_nothing(_: str) -> None:
    """What becomes of warnings that nobody wants."""


def checked(
    kind: Kind, item: JSONObject, validation: Validation, warn: Callable[[str], None] = say_nothing
) -> JSONObject:
    """A copy of an object without the fields that its kind does not have, and without nulls.

    Args:
        validation: whether such fields are dropped, named in a warning, or refused.
    Raises:
        ApiError: a value is of another type, or a field unknown and `validation` strict (400).
    """
    try:
        orjson.dumps(item)
    except TypeError as error:
        raise _unhandled(kind, f"json: {error}") from error
    walk = _Walk(kind)
    pruned: JSONObject = walk.value(item, struct(kind.type_name), "", kind.kind)
    if walk.unknown and validation == "Strict":
        words = ", ".join(f'unknown field "{one}"' for one in walk.unknown)
        raise _unhandled(kind, f"strict decoding error: {words}")
    if validation == "Warn":
        for one in walk.unknown:
            warn(f'unknown field "{one}"')
    return pruned


@dataclass
class _Walk:
    kind: Kind
    unknown: list[str] = field(default_factory=list)

    def value(self, value: Any, wanted: FieldType, path: str, owner: str, depth: int = 0) -> Any:
        if depth > _DEPTH:
            raise _unhandled(self.kind, f"{path}: there are more than {_DEPTH} levels")
        if isinstance(wanted, Untyped):
            return value
        if isinstance(wanted, Scalar):
            return self._scalar(value, wanted, path, owner)
        below = depth + 1
        if isinstance(wanted, ListOf):
            if not isinstance(value, list):
                raise self._mistyped(value, path, owner, "array")
            name = wanted.items.name if isinstance(wanted.items, Struct) else owner
            return [
                self.value(one, wanted.items, f"{path}[{number}]", name, below)
                for number, one in enumerate(value)
                if one is not None
            ]
        if not isinstance(value, dict):
            raise self._mistyped(value, path, owner, "object")
        if isinstance(wanted, MapOf):
            return {
                str(key): self.value(one, wanted.values, f"{path}.{key}", owner, below)
                for key, one in value.items()
                if one is not None
            }
        kept = {}
        for key, one in value.items():
            at = f"{path}.{key}" if path else str(key)
            known = wanted.fields.get(key)
            if known is None:
                if not wanted.strict:
                    kept[key] = one
                    continue
                self.unknown.append(at)
            elif one is not None:
                kept[key] = self.value(one, known, at, wanted.name, below)
        return kept

    def _scalar(self, value: Any, wanted: Scalar, path: str, owner: str) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if wanted.word == "quantity":
            if is_number:
                return str(value)
            fits = isinstance(value, str)
        elif wanted.word == "int64":
            if isinstance(value, float) and value.is_integer():
                return int(value)
            fits = is_number and isinstance(value, int)
        elif wanted.word == "float64":
            fits = is_number
        else:
            fits = isinstance(value, bool if wanted.word == "bool" else str)
        if not fits:
            raise self._mistyped(value, path, owner, wanted.word)
        return value

    def _mistyped(self, value: Any, path: str, owner: str, wanted: str) -> ApiError:
        return _unhandled(
            self.kind,
            f"json: cannot unmarshal {_json_word(value)} into Go struct field "
            f"{owner.removeprefix('V1')}.{path} of type {wanted}",
        )


def _json_word(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    words: dict[type, str] = {str: "string", list: "array", dict: "object"}
    return words.get(type(value), "null")


def _unhandled(kind: Kind, why: str) -> ApiError:
    return bad_request(
        f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {why}'
    )
