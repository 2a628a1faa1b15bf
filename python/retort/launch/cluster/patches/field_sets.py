"""Sets of fields, as `metadata.managedFields` holds them
(https://kubernetes.io/docs/reference/using-api/server-side-apply/#managed-fields, FieldsV1)."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from retort.launch.cluster.kinds.errors import JSONObject, bad_request
from retort.launch.cluster.kinds.fields import (
    UNTYPED,
    FieldType,
    ListOf,
    MapOf,
    Struct,
    Untyped,
)
from retort.launch.cluster.kinds.merge_keys import KEY_DEFAULTS

Element = tuple[str, Any]
"""A step of a path: `("f", name)`, `("k", keys and values of an item)`, `("v", item of a set)`."""
Path = tuple[Element, ...]
Fields = frozenset[Path]
MISSING: Any = object()
NO_FIELDS: Fields = frozenset()


def child_type(kind: FieldType, key: str) -> FieldType:
    """The type of what a map or structure has under a name."""
    if isinstance(kind, Struct):
        return kind.fields.get(key, UNTYPED)
    return kind.values if isinstance(kind, MapOf) else UNTYPED


def is_granular(value: object, kind: FieldType) -> bool:
    """Whether the parts of a value are owned one by one."""
    if isinstance(kind, ListOf):
        return isinstance(value, list) and bool(kind.keys or kind.is_set)
    if isinstance(kind, Struct | MapOf):
        return isinstance(value, dict) and not kind.atomic
    return isinstance(kind, Untyped) and isinstance(value, dict)


def element_of(item: Any, kind: ListOf) -> Element:
    """What tells an item of a shared list from the others.

    Raises:
        ApiError: it has no keys (400).
    """
    if kind.is_set:
        return ("v", item)
    values = []
    for key in sorted(kind.keys):
        value = item.get(key, KEY_DEFAULTS.get(key)) if isinstance(item, dict) else None
        if value is None:
            # One key of two may be absent, such as the name of what has a number.
            if len(kind.keys) == 1:
                raise bad_request(f"an item of a list has no {key}, which tells it from the others")
            continue
        values.append((key, value))
    return ("k", tuple(values))


def parts(value: Any, kind: FieldType) -> dict[Element, tuple[Any, FieldType]]:
    """The parts of a granular value, in their order, and their types."""
    if isinstance(kind, ListOf):
        return {element_of(one, kind): (one, kind.items) for one in value}
    return {("f", key): (one, child_type(kind, key)) for key, one in value.items()}


def owned(value: Any, kind: FieldType, path: Path = ()) -> Iterator[Path]:
    """The fields of which whoever applies a value becomes an owner."""
    if not is_granular(value, kind):
        if path:
            yield path
        return
    for element, (one, below) in parts(value, kind).items():
        at = (*path, element)
        yield from owned(one, below, at)
        if isinstance(kind, ListOf | MapOf) or one in ({}, None):
            yield at


@dataclass(frozen=True)
class Comparison:
    """How a value differs from another."""

    removed: Fields
    modified: Fields
    added: Fields

    @property
    def changed(self) -> Fields:
        """Of the new value, what is not as it was."""
        return self.modified | self.added


def compare(before: Any, after: Any, kind: FieldType) -> Comparison:
    """All fields that differ, and those above them that came or went."""
    removed: set[Path] = set()
    modified: set[Path] = set()
    added: set[Path] = set()

    def walk(was: Any, now: Any, kind: FieldType, path: Path) -> None:
        present = now if was is MISSING else was
        both = was is not MISSING and now is not MISSING
        if is_granular(present, kind) and (not both or is_granular(now, kind)):
            old = {} if was is MISSING else parts(was, kind)
            new = {} if now is MISSING else parts(now, kind)
            for element in old.keys() | new.keys():
                (one, below), (other, _) = (
                    old.get(element) or (MISSING, new.get(element, (None, UNTYPED))[1]),
                    new.get(element) or (MISSING, UNTYPED),
                )
                walk(one, other, below, (*path, element))
        elif both and was != now:
            modified.add(path)
        if path and was is MISSING:
            added.add(path)
        if path and now is MISSING:
            removed.add(path)

    walk(before, after, kind, ())
    return Comparison(frozenset(removed), frozenset(modified), frozenset(added))


def encode(fields: Iterable[Path]) -> JSONObject:
    """A set as FieldsV1."""
    tree: JSONObject = {}
    paths = set(fields)
    for path in sorted(paths, key=_order):
        node = tree
        for element in path:
            node = node.setdefault(_word(element), {})
        node["."] = {}
    return _without_dots(tree)


def decode(tree: object, path: Path = ()) -> Iterator[Path]:
    """The set that FieldsV1 holds.

    Raises:
        ApiError: it is none (400).
    """
    if not isinstance(tree, Mapping):
        raise bad_request("metadata.managedFields: fieldsV1 is not a tree of fields")
    if path and not tree:
        yield path
    for word, below in tree.items():
        if word == ".":
            yield path
        else:
            yield from decode(below, (*path, _element(word)))


def _without_dots(tree: JSONObject) -> JSONObject:
    return {
        word: {} if word == "." or below == {".": {}} else _without_dots(below)
        for word, below in tree.items()
    }


def _word(element: Element) -> str:
    mark, value = element
    if mark == "f":
        return f"f:{value}"
    return f"{mark}:{json.dumps(dict(value) if mark == 'k' else value, separators=(',', ':'))}"


def _element(word: str) -> Element:
    mark, _, text = word.partition(":")
    if mark == "f":
        return ("f", text)
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if mark == "k" and isinstance(value, dict):
        return ("k", tuple(sorted(value.items())))
    if mark in ("v", "i") and not isinstance(value, dict | list):
        return (mark, value)
    raise bad_request(f"metadata.managedFields: {word!r} is no field")


def _order(path: Path) -> list[str]:
    return [_word(element) for element in path]


def dotted(path: Path) -> str:
    """A field as messages name it: `.spec.containers[name="web"].image`."""
    words = []
    for mark, value in path:
        if mark == "f":
            words.append(f".{value}")
        elif mark == "k":
            listed = ",".join(f"{key}={json.dumps(one)}" for key, one in value)
            words.append(f"[{listed}]")
        else:
            words.append(f"[={json.dumps(value)}]" if mark == "v" else f"[{value}]")
    return "".join(words)
