"""Columns of tables, and how their cells are written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from retort.launch.cluster.kinds.errors import JSONObject

NONE = "<none>"
UNKNOWN = "<unknown>"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        type: string, integer, boolean or date.
        priority: 0 for those that are always shown; others with `-o wide`.
    """

    name: str
    cell: Callable[[JSONObject], Any]
    type: str = "string"
    priority: int = 0
    description: str = ""


def age(text: str | None) -> str:
    """How long ago a time is, in one or two units, such as 90s, 5m3s, 2h, 3d4h."""
    if not text:
        return UNKNOWN
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return UNKNOWN
    return duration(int((datetime.now(UTC) - then).total_seconds()))


def duration(seconds: int) -> str:
    """A time of some length, in one or two units."""
    seconds = max(seconds, 0)
    if seconds < 120:
        return f"{seconds}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 10:
        return f"{minutes}m" + (f"{seconds % 60}s" if seconds % 60 else "")
    if hours < 3:
        return f"{minutes}m"
    if hours < 48:
        return f"{hours}h" + (f"{minutes % 60}m" if hours < 8 and minutes % 60 else "")
    return f"{days}d" + (f"{hours % 24}h" if days < 8 and hours % 24 else "")


def at(item: Mapping[str, Any], path: str) -> Any:
    """A part of an object, by its dotted name; None where it is not there."""
    found: Any = item
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def field(path: str, otherwise: Any = NONE) -> Callable[[JSONObject], Any]:
    """Cells that are a part of an object, or something else where it is not there."""

    def cell(item: JSONObject) -> Any:
        found = at(item, path)
        return otherwise if found is None or found == "" else found

    return cell


def count(*paths: str) -> Callable[[JSONObject], int]:
    """Cells that say how many items parts of an object have."""
    return lambda item: sum(len(at(item, path) or ()) for path in paths)


def age_of(path: str) -> Callable[[JSONObject], str]:
    """Cells that say how long ago a time is."""
    return lambda item: age(at(item, path))
