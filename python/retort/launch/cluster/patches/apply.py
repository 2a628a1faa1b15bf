"""Server-side apply: what one manager wants, merged into what there is
(https://kubernetes.io/docs/reference/using-api/server-side-apply/)."""

import copy
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from retort.launch.cluster.kinds.errors import ApiError, JSONObject
from retort.launch.cluster.kinds.fields import FieldType, ListOf, struct
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.patches.field_sets import (
    NO_FIELDS,
    Element,
    Fields,
    Path,
    child_type,
    compare,
    dotted,
    element_of,
    is_granular,
    owned,
    parts,
)
from retort.launch.cluster.patches.managed import (
    Manager,
    Owned,
    Writer,
    ownable,
    owners,
    write_owners,
)

_UNKNOWN = "before-first-apply"
"""The manager of what was there when nobody was noted."""


def applied(
    kind: Kind, before: JSONObject | None, config: JSONObject, writer: Writer, *, force: bool
) -> JSONObject:
    """The object after a manager has applied what it wants.

    Args:
        before: the object as it is; None where there is none.
        config: all fields that the manager has an opinion on.
        force: whether fields with other values are taken from their owners.
    Raises:
        ApiError: others own fields of other values, and `force` is not set (409).
    """
    wanted, now = _applicable(kind, config, writer.subresource), writer.time
    shape = struct(kind.type_name)
    me = Manager(writer.name, "Apply", kind.api_version, writer.subresource)
    live = before or {}
    managers = owners(live)
    if before is not None and not managers:
        everything = ownable(frozenset(owned(live, shape)))
        managers[Manager(_UNKNOWN, "Update", kind.api_version)] = Owned(everything, now)
    mine = ownable(frozenset(owned(wanted, shape)))
    had = managers.pop(me, Owned(NO_FIELDS, now)).fields
    others: Fields = NO_FIELDS.union(*(one.fields for one in managers.values()))
    after: JSONObject = merged(copy.deepcopy(live), wanted, shape)
    # What is above a field that is still wanted is still wanted.
    above = {path[:end] for path in mine for end in range(1, len(path))}
    # Items before their fields: of an item that goes nothing is to be looked up any more.
    for path in sorted(had - mine - above, key=len):
        if not any(other[: len(path)] == path for other in others):
            _remove(after, shape, path, mine | others)
    found = compare(live, after, shape)
    clashes = {one: it.fields & found.changed for one, it in managers.items()}
    if any(clashes.values()) and not force:
        raise _conflict(clashes)
    left = {
        one: Owned(it.fields - clashes[one] - found.removed, it.time)
        for one, it in managers.items()
    }
    left[me] = Owned(mine, now)
    after.setdefault("metadata", {})
    write_owners(after, left)
    return after


def merged(live: Any, wanted: Any, kind: FieldType) -> Any:
    """A value with all that is wanted of it; of shared lists the items that nobody mentions stay."""
    if not (is_granular(live, kind) and is_granular(wanted, kind)):
        return wanted
    if isinstance(kind, ListOf):
        there, new = parts(live, kind), parts(wanted, kind)
        return [
            (
                merged(there[at][0], new[at][0], kind.items)
                if at in there and at in new
                else (new.get(at) or there[at])[0]
            )
            for at in ordered(list(there), list(new))
        ]
    result: dict[str, Any] = dict(live)
    for key, value in wanted.items():
        result[key] = merged(live[key], value, child_type(kind, key)) if key in live else value
    return result


def ordered(live: Sequence[Element], wanted: Sequence[Element]) -> list[Element]:
    """All items: those that are wanted in their order, the others after what they came after."""
    rest = list(wanted)
    result: list[Element] = []
    for at in live:
        if at in rest:
            upto = rest.index(at) + 1
            result += rest[:upto]
            del rest[:upto]
        elif at not in result:
            result.append(at)
    return result + rest


def _applicable(kind: Kind, config: JSONObject, subresource: str) -> JSONObject:
    """What of a configuration can be written where it is applied."""
    if subresource == "status":
        metadata = {"name": config["metadata"].get("name")}
        kept = {"apiVersion": config["apiVersion"], "kind": config["kind"], "metadata": metadata}
        return kept | ({"status": config["status"]} if "status" in config else {})
    left_out = ("status",) if kind.has_status else ()
    return copy.deepcopy({key: value for key, value in config.items() if key not in left_out})


def _remove(value: Any, kind: FieldType, path: Path, kept: Fields, above: Path = ()) -> None:
    """Take a field out of a value, and what is empty for want of it, unless somebody owns that."""
    element, rest = path[0], path[1:]
    if not is_granular(value, kind):
        return
    found = parts(value, kind).get(element)
    if found is None:
        return
    at = (*above, element)
    if rest:
        _remove(found[0], found[1], rest, kept, at)
        if found[0] not in ({}, []) or at in kept:
            return
    if above and above[-1][0] == "k" and element[1] in dict(above[-1][1]):
        return  # an item that stays keeps what tells it from the others
    if isinstance(kind, ListOf):
        value[:] = [one for one in value if element_of(one, kind) != element]
    else:
        del value[element[1]]


def _conflict(clashes: Mapping[Manager, Fields]) -> ApiError:
    named = [
        (_who(manager), dotted(path))
        for manager, fields in sorted(clashes.items())
        for path in sorted(fields, key=dotted)
    ]
    managers = list(dict.fromkeys(who for who, _ in named))
    if len(named) == 1:
        words = f"conflict with {managers[0]}: {named[0][1]}"
    else:
        words = "\n".join(
            f"conflicts with {who}:\n" + "\n".join(f"- {at}" for one, at in named if one == who)
            for who in managers
        )
    plural = "" if len(named) == 1 else "s"
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": at}
        for who, at in named
    ]
    return ApiError(
        HTTPStatus.CONFLICT,
        "Conflict",
        f"Apply failed with {len(named)} conflict{plural}: {words}",
        {"causes": causes},
    )


def _who(manager: Manager) -> str:
    inside = f' with subresource "{manager.subresource}"' if manager.subresource else ""
    return f'"{manager.name}"{inside} using {manager.api_version}'
