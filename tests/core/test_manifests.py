"""Whatever lies where a manifest should be: it verifies, its bytes being ours, or one line says no."""

import copy
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retort.core.digest import canonical_json
from retort.core.errors import SealError
from retort.core.seal import read_manifest, sealing, verify

Value = Any
FILES = {"labels.json": b"[]", "shards/a.st": bytes(range(64)), "weights.bin": b"\0" * 9}
CONFIG: dict[str, Value] = {
    "data": {"source": "bbc_news", "held_out": 0.2, "labels": ["sport", "tech"]},
    "train": {"steps": 100, "lr": 2e-4, "care": None, "best": True},
}
LONGEST = 2000

ODD_TEXT = st.sampled_from(
    [
        "",
        "\ud800",
        "a\nb",
        "\x1b[2J",
        "\u202eevil",
        "\0",
        "é" * 5000,
        "../x",
        "/etc/passwd",
        "a/" * 3000,
    ]
)
ODD_NUMBER = st.sampled_from([0, -1, True, 2**63, 10**400, 1e308, -0.0, 0.1, 1e-400])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | ODD_TEXT | ODD_NUMBER
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text() | ODD_TEXT, inner, max_size=3),
    max_leaves=6,
)
RAW = st.sampled_from(
    [
        b"1e400",
        b"-1e400",
        b"NaN",
        b"Infinity",
        b"9" * 5000,
        b'"\\ud800"',
        b'"\xed\xa0\x80"',
        b'"\xff"',
        b"[" * 5000 + b"]" * 5000,
        b'{"a":' * 900 + b"1" + b"}" * 900,
        b"[" * 70 + b"]" * 70,
        b"01",
        b"1.0",
        b"true",
    ]
)
"""JSON, or nearly, that a program would not write of any value."""


@pytest.fixture(scope="module")
def sealed_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("manifests") / "thing"
    inputs = {"tokens": "sha256:" + "0" * 64, "weights": "sha256:" + "1" * 64}
    with sealing(path, kind="thing", inputs=inputs, config=CONFIG) as directory:
        (directory / "shards").mkdir()
        for name, content in FILES.items():
            (directory / name).write_bytes(content)
    return path


def judge(directory: Path, content: bytes) -> None:
    """The property: one line that names the manifest or a file, or the bytes are canonical."""
    (directory / "manifest.json").write_bytes(content)
    try:
        sealed = verify(directory)
    except SealError as error:
        message = str(error)
        assert message.isprintable()
        assert message.startswith(str(directory)) and len(message) < LONGEST
    else:
        assert sealed.manifest.to_bytes() == content
        assert sealed.seal == f"sha256:{hashlib.sha256(content).hexdigest()}"


def places(value: Value) -> list[tuple[Value, Value]]:
    """Every container of a structure with every key of it."""
    if isinstance(value, dict):
        return [(value, key) for key in value] + [
            at for one in value.values() for at in places(one)
        ]
    if isinstance(value, list):
        return [(value, at) for at in range(len(value))] + [
            at for one in value for at in places(one)
        ]
    return []


def replace(manifest: Value, draw: Callable[..., Value]) -> None:
    container, key = draw(st.sampled_from(places(manifest)))
    container[key] = draw(VALUES)


def remove(manifest: Value, draw: Callable[..., Value]) -> None:
    container, key = draw(st.sampled_from(places(manifest)))
    del container[key]


def add(manifest: Value, draw: Callable[..., Value]) -> None:
    container, _ = draw(st.sampled_from(places(manifest)))
    if isinstance(container, dict):
        container[draw(st.text() | ODD_TEXT)] = draw(VALUES)
    else:
        container.append(draw(VALUES | st.sampled_from(container)))


def swap(manifest: Value, draw: Callable[..., Value]) -> None:
    (one, first), (other, second) = (draw(st.sampled_from(places(manifest))) for _ in range(2))
    one[first], other[second] = copy.deepcopy(other[second]), copy.deepcopy(one[first])


CHANGES = st.sampled_from([replace, remove, add, swap])


def written(value: Value) -> bytes:
    """As our writer would, where it can; NaN and half surrogates as others do."""
    try:
        return canonical_json(value)
    except (ValueError, UnicodeEncodeError):
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


FUZZ = settings(
    deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FUZZ
@given(content=st.binary(max_size=300))
def test_any_bytes(sealed_directory: Path, content: bytes) -> None:
    judge(sealed_directory, content)


@FUZZ
@given(value=VALUES)
def test_any_json(sealed_directory: Path, value: Value) -> None:
    judge(sealed_directory, written(value))


@FUZZ
@given(data=st.data())
def test_any_structure_near_a_real_one(sealed_directory: Path, data: st.DataObject) -> None:
    manifest = template(sealed_directory)
    for _ in range(data.draw(st.integers(0, 3))):
        if places(manifest):
            data.draw(CHANGES)(manifest, data.draw)
    judge(sealed_directory, written(manifest))


@FUZZ
@given(data=st.data(), other=st.binary(min_size=1, max_size=8))
def test_any_bytes_near_real_ones(
    sealed_directory: Path, data: st.DataObject, other: bytes
) -> None:
    content = canonical_json(template(sealed_directory))
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(start + 8, len(content))))
    judge(sealed_directory, content[:start] + other + content[end:])


@FUZZ
@given(data=st.data(), raw=RAW)
def test_any_value_that_json_cannot_say(
    sealed_directory: Path, data: st.DataObject, raw: bytes
) -> None:
    manifest = template(sealed_directory)
    container, key = data.draw(st.sampled_from(places(manifest)))
    container[key] = "here"
    judge(sealed_directory, canonical_json(manifest).replace(b'"here"', raw))


def template(directory: Path) -> Value:
    """The real manifest, made from what the directory holds."""
    files = [
        {"path": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in sorted(FILES.items())
    ]
    assert set(os.listdir(directory)) == {"labels.json", "manifest.json", "shards", "weights.bin"}
    inputs = {"tokens": "sha256:" + "0" * 64, "weights": "sha256:" + "1" * 64}
    manifest = {"format": 1, "kind": "thing", "inputs": inputs, "config": CONFIG, "files": files}
    return copy.deepcopy(manifest)


def test_the_template_of_these_tests_verifies(sealed_directory: Path) -> None:
    (sealed_directory / "manifest.json").write_bytes(canonical_json(template(sealed_directory)))
    assert verify(sealed_directory).kind == "thing"


def test_a_key_given_twice_is_refused(sealed_directory: Path) -> None:
    content = canonical_json(template(sealed_directory))
    doubled = content.replace(b'"kind":"thing"', b'"kind":"other","kind":"thing"')
    (sealed_directory / "manifest.json").write_bytes(doubled)
    with pytest.raises(SealError, match="is altered: it is not in canonical form"):
        verify(sealed_directory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a" * (2 << 20): 1}, r"says 2,\d+,\d+ bytes besides its list of files"),
        ({"a" * (60 << 20): 1, "b" * (10 << 20): 1}, r"is larger than the 67,108,864 bytes"),
        ({"a": [[[[]]]] * 10, "b": eval("[" * 70 + "]" * 70)}, "more than 64 levels"),
    ],
    ids=["long", "too long to read", "deep"],
)
def test_a_configuration_without_measure_is_refused_and_never_sealed(
    tmp_path: Path, change: dict[str, Value], message: str
) -> None:
    with (
        pytest.raises(SealError, match=message),
        sealing(tmp_path / "thing", kind="thing", inputs={}, config=change) as directory,
    ):
        (directory / "file").touch()
    assert os.listdir(tmp_path) == []


def test_a_manifest_of_very_many_files_is_read(tmp_path: Path) -> None:
    """A hundred thousand shards, some 200 GB of text: their list is allowed what nothing else is."""
    files = [
        {"path": f"shards/{number:032x}.st", "size": 1 << 21, "sha256": f"{number:064x}"}
        for number in range(100_000)
    ]
    manifest: Value = {
        "format": 1,
        "kind": "token-store",
        "inputs": {},
        "config": {},
        "files": files,
    }
    (tmp_path / "manifest.json").write_bytes(canonical_json(manifest))
    assert len(read_manifest(tmp_path).files) == 100_000
