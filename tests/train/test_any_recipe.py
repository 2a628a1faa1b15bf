"""Whatever a recipe's file or `--set` holds: it is one line and a mistake of the user's, or it works."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retort.core.config import Frozen, for_seal, load_recipe, recipe_names, to_yaml
from retort.core.digest import canonical_json
from retort.core.errors import ConfigError
from retort.data.preparation import recipe as preparation
from retort.data.preparation.recipe import PreparationRecipe
from retort.train import recipe as training
from retort.train.recipe import TrainingRecipe

_LONGEST_LINE = 3000
_MODELS: dict[type[Frozen], Any] = {
    TrainingRecipe: training.recipes(),
    PreparationRecipe: preparation.recipes(),
}
_REAL = {
    model: [
        (directory / f"{name}.yaml").read_text(encoding="utf-8") for name in recipe_names(directory)
    ]
    for model, directory in _MODELS.items()
}


def _paths(value: Any, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Of all keys of a recipe."""
    if not isinstance(value, dict):
        return [at]
    return [at, *(path for key, one in value.items() for path in _paths(one, (*at, key)))]


def _fields(model: type[Frozen], at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Of all keys that a recipe could have."""
    found = []
    for name, field in model.model_fields.items():
        found.append((*at, name))
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, Frozen):
                found += _fields(kind, (*at, name))
    return found


_NUMBERS = st.one_of(
    st.integers(),
    st.integers(-3, 3),
    st.integers(0, 80).map(lambda power: 2**power),
    st.integers(0, 80).map(lambda power: -(2**power) - 1),
    st.floats(),
    st.floats(0.0, 1.0),
)
_WORDS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", "~nobody/x", "~", "/", "..", "a" * 300, "a/" * 3000, "x.yaml", "null"]),
)
_VALUES = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _WORDS,
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(_WORDS | _NUMBERS, inner, max_size=4),
    max_leaves=12,
)
_YAML = st.text(st.sampled_from("[]{}:,-?&*!|>'\"%@`#~<=. \t\n\\axu019e+_\ud800\x00\x07\u2028é"))
_TEXTS = st.one_of(
    st.text(st.characters(), max_size=40),
    _YAML,
    _VALUES.map(lambda value: yaml.safe_dump(value, default_flow_style=True)),
    st.sampled_from(
        [
            "9" * 5000,
            "-" + "9" * 5000,
            "1e999999",
            "." + "9" * 5000,
            "!!int foo",
            "!!float x",
            "!!bool foo",
            "!!timestamp foo",
            "!!binary ///",
            "!!set {a, b}",
            "!!omap [a: b]",
            "!!null x",
            "!!merge x",
            "!!python/object/apply:os.getcwd []",
            "[" * 5000,
            "{a: " * 5000,
            "[" * 5000 + "]" * 5000,
            "&a [*a]",
            "{<<: {a: 1}}",
            '"\\ud800"',
            '"\\U00110000"',
            '"\\Uffffffff"',
            '"\\0"',
            "\ufeff5",
            "? [a]",
            "? ? a",
            "{1: 2, a: 3}",
            "{null: 1}",
            "{[a]: 1}",
            "2026-11-27",
            "0x10",
            "1_000",
            "12:30:45",
            ".inf",
            ".nan",
        ]
    ),
)
_ANY = settings(
    deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow], database=None
)


def _one_line_or_a_recipe(model: type[Frozen], file: Path, overrides: Sequence[str] = ()) -> None:
    try:
        config = load_recipe(model, file, overrides, Path("/start")).config
    except ConfigError as error:
        assert error.exit_code == 2
        assert str(error).isprintable()
        assert len(str(error)) < _LONGEST_LINE
        return
    canonical_json(for_seal(config))
    again = file.with_name("again.yaml")
    again.write_text(to_yaml(config), encoding="utf-8")
    assert load_recipe(model, again, [], Path("/start")).config == config


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any") / "any.yaml"


@_ANY
@given(
    st.sampled_from(list(_MODELS)), st.binary() | _TEXTS.map(lambda t: t.encode("utf-8", "replace"))
)
def test_bytes(file: Path, model: type[Frozen], content: bytes) -> None:
    file.write_bytes(content)
    _one_line_or_a_recipe(model, file)


@_ANY
@given(st.data(), st.sampled_from(list(_MODELS)))
def test_a_recipe_with_some_bytes_changed(
    file: Path, data: st.DataObject, model: type[Frozen]
) -> None:
    content = bytearray(data.draw(st.sampled_from(_REAL[model])).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, min(len(content), start + 8)))
        content[start:end] = data.draw(st.binary(max_size=8))
    file.write_bytes(bytes(content))
    _one_line_or_a_recipe(model, file)


@_ANY
@given(st.data(), st.sampled_from(list(_MODELS)))
def test_a_recipe_with_another_value_somewhere(
    file: Path, data: st.DataObject, model: type[Frozen]
) -> None:
    recipe = yaml.safe_load(data.draw(st.sampled_from(_REAL[model])))
    for _ in range(data.draw(st.integers(1, 3))):
        *path, key = data.draw(
            st.sampled_from([p for p in (*_paths(recipe), *_fields(model)) if p])
        )
        place = recipe
        for name in path:
            if not isinstance(place.get(name), dict):
                place[name] = {}
            place = place[name]
        place[key] = data.draw(_NUMBERS | _VALUES)
    file.write_text(yaml.safe_dump(recipe, default_flow_style=data.draw(st.booleans())))
    _one_line_or_a_recipe(model, file)


@_ANY
@given(st.data(), st.sampled_from(list(_MODELS)))
def test_an_override(file: Path, data: st.DataObject, model: type[Frozen]) -> None:
    file.write_text(data.draw(st.sampled_from(_REAL[model])))
    keys = st.sampled_from([".".join(path) for path in _fields(model)])
    typed = st.tuples(keys | _WORDS, _TEXTS).map("=".join) | _TEXTS
    _one_line_or_a_recipe(model, file, data.draw(st.lists(typed, min_size=1, max_size=3)))
