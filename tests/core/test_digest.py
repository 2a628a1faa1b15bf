"""Digests, and the bytes that stand for data."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retort.core.digest import canonical_json, sha256_bytes, sha256_file

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    # Lone surrogates are not text, so JSON in UTF-8 has no way to say them.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abcé"), inner),
)


@settings(deadline=None)
@given(VALUES)
def test_canonical_json_says_the_value_and_nothing_else(value: object) -> None:
    encoded = canonical_json(value)  # type: ignore[arg-type]
    assert json.loads(encoded) == value
    assert canonical_json(json.loads(encoded)) == encoded


def test_the_order_of_keys_does_not_matter() -> None:
    assert canonical_json({"b": 1, "a": {"d": 2, "c": 3}}) == b'{"a":{"c":3,"d":2},"b":1}'
    assert canonical_json({"a": {"c": 3, "d": 2}, "b": 1}) == b'{"a":{"c":3,"d":2},"b":1}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_json_cannot_say_is_refused(value: float | str) -> None:
    with pytest.raises(ValueError):
        canonical_json(value)


@settings(deadline=None)
@given(content=st.binary(max_size=100))
def test_file_and_bytes_have_the_same_digest(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file: Path = tmp_path_factory.mktemp("digest") / "file"
    file.write_bytes(content)
    assert sha256_file(file) == sha256_bytes(content) == hashlib.sha256(content).hexdigest()
