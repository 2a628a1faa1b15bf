"""Whatever is written in a manifest, the rules have an answer."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from retort.launch.rules.check import check
from retort.launch.rules.documents import parse
from retort.launch.rules.schemas import Schemas

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
THERE = ("persistentvolumeclaim/news", "persistentvolumeclaim/runs", "secret/tracking")
VALUES: tuple[Any, ...] = (None, True, -1, 1, "", "x", "1e3", "$(X)", [], ["x"], {}, {"a": 1})
SETS = [list(yaml.safe_load_all(file.read_text())) for file in sorted(GOLDEN.glob("full.*.yaml"))]
SCHEMAS = Schemas(None)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in inside:
        yield (*path, key)
        if isinstance(one, dict | list):
            yield from _paths(one, (*path, key))


PLACES = [(number, path) for number, one in enumerate(SETS) for path in _paths(one)]


# The first example loads schemas.
@settings(deadline=None)
@given(st.sampled_from(PLACES), st.sampled_from(VALUES), st.booleans())
def test_any_value_anywhere_is_right_or_refused(
    place: tuple[int, tuple[Any, ...]], value: Any, is_gone: bool
) -> None:
    number, (*outer, last) = place
    changed = copy.deepcopy(SETS[number])
    inside: Any = changed
    for key in outer:
        inside = inside[key]
    if is_gone:
        del inside[last]
    else:
        inside[last] = value
    for one in check(parse(yaml.safe_dump_all(changed), "all.yaml"), SCHEMAS, THERE):
        assert one.what
        assert "\n" not in str(one)
