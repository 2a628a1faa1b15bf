"""Objects from protocol buffers, in which `kubectl create` sends those of core kinds.

A body is four bytes, then a message `Unknown` around the object's own
(https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding). What types and fields
there are is known (`retort.launch.cluster.kinds.fields`); here are the numbers of the fields.
"""

import base64
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

import orjson

from retort.launch.cluster.kinds.errors import JSONObject, bad_request
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

PROTOBUF = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DEPTH = 100
_EMPTY: tuple[Any, ...] = ("", None)


def read_protobuf(body: bytes, kind: Kind) -> JSONObject:
    """The object in a body.

    Raises:
        ApiError: it is none (400).
    """
    if not body.startswith(_MAGIC):
        raise bad_request("the body does not begin as one in protocol buffers does")
    try:
        unknown = dict(_fields(body[len(_MAGIC) :]))
        named = dict(_fields(unknown.get(1, b"")))
        item: JSONObject = _message(unknown.get(2, b""), kind.type_name, struct(kind.type_name))
        for number, key in ((1, "apiVersion"), (2, "kind")):
            if named.get(number):
                item[key] = named[number].decode()
    except (ValueError, IndexError, AttributeError, TypeError, OverflowError) as error:
        raise bad_request(f"the body cannot be read as a {kind.kind}: {error}") from error
    return item


@cache
def _numbers() -> Mapping[str, Mapping[int, str]]:
    """Of each type the names of its fields, by their numbers."""
    found: dict[str, dict[int, str]] = {}
    text = (files("retort.launch.cluster.protobuf") / "protobuf_fields.txt").read_text("utf-8")
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, *words = line.split()
        number = 0
        for word in words:
            start, separator, field = word.partition(":")
            number = int(start) if separator else number + 1
            found.setdefault(name, {})[number] = field if separator else word
    return found


def _message(content: bytes, numbered: str, kind: Struct, depth: int = 0) -> JSONObject:
    """A message whose fields are numbered as those of one type, and are those of another."""
    if depth > _DEPTH:
        raise ValueError(f"there are more than {_DEPTH} levels")
    result: JSONObject = {}
    names = _numbers().get(numbered, {})
    for number, value in _fields(content):
        word = names.get(number)
        if word is None:
            raise ValueError(f"{numbered} has no field {number}")
        if word.startswith("+"):
            result |= _message(value, word[1:], kind, depth + 1)
            continue
        is_bytes, name = word.startswith("*"), word.lstrip("*")
        wanted = kind.fields[name]
        if isinstance(wanted, ListOf):
            result.setdefault(name, []).append(_value(value, wanted.items, is_bytes, depth))
        elif isinstance(wanted, MapOf):
            entry = dict(_fields(value))
            key = entry.get(1, b"").decode()
            default = entry.get(2, b"")
            result.setdefault(name, {})[key] = _value(default, wanted.values, is_bytes, depth)
        else:
            one = _value(value, wanted, is_bytes, depth)
            if one not in _EMPTY:  # what says nothing is written all the same
                result[name] = one
    return result


def _value(value: Any, wanted: FieldType, is_bytes: bool, depth: int) -> Any:
    if isinstance(wanted, Struct):
        return _message(value, wanted.name, wanted, depth + 1)
    if isinstance(wanted, Untyped):
        return _untyped(value)
    if isinstance(wanted, MapOf | ListOf):
        raise ValueError("a list in a list")
    return _scalar(value, wanted, is_bytes)


def _scalar(value: Any, wanted: Scalar, is_bytes: bool) -> Any:
    if is_bytes:
        return base64.b64encode(value).decode()
    if wanted.word == "bool":
        return bool(value)
    if wanted.word == "int64":
        return value - (1 << 64) if value >= 1 << 63 else value
    if wanted.word == "quantity":
        return dict(_fields(value)).get(1, b"").decode()
    return _time(value) if wanted.word == "time" else value.decode()


def _time(value: bytes) -> str | None:
    parts = dict(_fields(value))
    if not parts:
        return None
    return datetime.fromtimestamp(parts.get(1, 0), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _untyped(value: bytes) -> Any:
    """A number or a name (IntOrString), or JSON that is written as it is (FieldsV1)."""
    parts = dict(_fields(value))
    if set(parts) == {1} and isinstance(parts[1], bytes):
        return orjson.loads(parts[1])
    return parts.get(3, b"").decode() if parts.get(1) else parts.get(2, 0)


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message as they are written: numbers, and integers or bytes
    (https://protobuf.dev/programming-guides/encoding/)."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        number, form = tag >> 3, tag & 7
        if form == _VARINT:
            value, at = _varint(content, at)
            yield number, value
            continue
        if form == _BYTES:
            size, at = _varint(content, at)
        elif form in (_FIXED64, _FIXED32):
            size = 8 if form == _FIXED64 else 4
        else:
            raise ValueError(f"a field is written in a way that there is not: {form}")
        if at + size > len(content):
            raise ValueError("it ends in the middle of a field")
        yield number, content[at : at + size]
        at += size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")
