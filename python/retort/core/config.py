"""Configuration: frozen pydantic models, read from a YAML recipe and `--set` overrides."""

import difflib
import json
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import ErrorDetails

from retort.core.digest import JSON, canonical_json
from retort.core.errors import ConfigError


class Frozen(BaseModel):
    """A component's configuration: it cannot change, and it knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


ConfigT = TypeVar("ConfigT", bound=Frozen)


def _resolve(path: Path, info: ValidationInfo) -> Path:
    start: Path = (info.context or {}).get("start", Path())
    return start / path.expanduser()


LocalPath = Annotated[Path, Field(strict=False), AfterValidator(_resolve)]
"""A path of this machine. `load_recipe` says where a relative one starts; no seal holds it."""


@dataclass(frozen=True)
class Recipe(Generic[ConfigT]):
    """A configuration and what to call it."""

    name: str
    config: ConfigT


def load_recipe(
    model: type[ConfigT], source: Path | Traversable, overrides: Sequence[str], start: Path
) -> Recipe[ConfigT]:
    """Read a recipe, apply overrides such as `optimizer.lr=3e-5`, and validate the whole.

    Args:
        start: the directory that relative paths in the recipe and the overrides start from.

    Raises:
        ConfigError: names the key, what is allowed, and the file or override that is wrong.
    """
    name = str(source) if isinstance(source, Path) else source.name
    try:
        content = source.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{source}: does not exist; give a recipe's name or file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: cannot be read as a recipe: {error}") from error
    values = _yaml(content, name)
    if not isinstance(values, dict):
        raise ConfigError(f"{name}: a recipe is a mapping of keys to values")
    origins: dict[tuple[str, ...], str] = {}
    for override in overrides:
        key, separator, text = override.partition("=")
        path = tuple(key.strip().split("."))
        if not separator or not all(path):
            raise ConfigError(f"--set {override}: write it as key=value, such as optimizer.lr=3e-5")
        _assign(values, path, _yaml(text, f"--set {override}"), override)
        origins[path] = f"--set {override}"
    try:
        config = model.model_validate(values, context={"start": start})
    except ValidationError as error:
        # A misspelt key is both unknown and missing; the former says more.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        raise ConfigError(_describe(model, first, origins, name)) from error
    return Recipe(name.rsplit("/", 1)[-1].rsplit(".", 1)[0], config)


def find_recipe(directory: Traversable, recipe: str, start: Path) -> Path | Traversable:
    """A recipe's file, from its name in `directory` or from a path (with a slash or a suffix).

    Args:
        start: the directory that a relative path starts from.
    """
    if "/" in recipe or recipe.endswith((".yaml", ".yml")):
        return start / Path(recipe).expanduser()
    names = recipe_names(directory)
    if recipe not in names:
        hint = nearest(recipe, names)
        raise ConfigError(f"--config {recipe}: no such recipe{hint}; or give the path of a file")
    return directory / f"{recipe}.yaml"


def recipe_names(directory: Traversable) -> list[str]:
    """The recipes in a directory, sorted."""
    return sorted(
        file.name.removesuffix(".yaml")
        for file in directory.iterdir()
        if file.name.endswith(".yaml")
    )


def to_yaml(config: Frozen) -> str:
    """The resolved configuration as one would write it in a recipe."""
    text: str = yaml.dump(config.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False)
    return text


def for_seal(config: Frozen) -> dict[str, JSON]:
    """The configuration without local paths: a seal holds the digest of what they point to."""
    return _without_paths(config.model_dump())


def _without_paths(value: Mapping[str, Any]) -> dict[str, JSON]:
    kept: dict[str, JSON] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            kept[key] = _without_paths(item)
        elif not isinstance(item, Path):
            kept[key] = list(item) if isinstance(item, tuple) else item
    return kept


def differences(was: Mapping[str, JSON], now: Mapping[str, JSON], at: str = "") -> Iterator[str]:
    """Every key, dotted, that is not the same in both, and what it was and is."""
    for key in sorted(was.keys() | now.keys()):
        before, after = was.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from differences(before, after, f"{at}{key}.")
        elif canonical_json(before) != canonical_json(after):
            yield f"{at}{key} was {json.dumps(before)} and is {json.dumps(after)}"


def nearest(wrong: object, allowed: Sequence[str]) -> str:
    """The end of an error message: what was probably meant, and all that is allowed."""
    near = difflib.get_close_matches(str(wrong), allowed, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ";"
    return f"{hint} allowed: {', '.join(allowed)}"


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core schema: `3e-5` is a number, and `no` is a word."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) != len(node.value):
            raise yaml.constructor.ConstructorError(
                None, None, "a key is given twice", node.start_mark
            )
        return mapping


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would take for something else than text."""


for _tag, _pattern, _first in (
    ("null", r"(~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
    ("bool", r"(true|True|TRUE|false|False|FALSE)\Z", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)\Z", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z",
        list("-+.0123456789"),
    ),
):
    for _side in (_Loader, _Dumper):
        _side.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def _yaml(text: str, origin: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        detail = " ".join(str(error).split())
        raise ConfigError(f"{origin}: is not valid YAML: {detail}") from error


def _assign(values: dict[str, Any], path: tuple[str, ...], value: Any, override: str) -> None:
    for depth, key in enumerate(path[:-1], start=1):
        inner = values.setdefault(key, {})
        if inner is None:
            inner = values[key] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override}: {'.'.join(path[:depth])} has no keys of its own")
        values = inner
    values[path[-1]] = value


def _describe(
    model: type[Frozen], error: ErrorDetails, origins: Mapping[tuple[str, ...], str], file: str
) -> str:
    path = tuple(str(part) for part in error["loc"])
    key = ".".join(path) or "the recipe"
    # An override of the key, of a mapping around it, or of a part of what is wrong as a whole.
    related = (text for at, text in origins.items() if path[: len(at)] == at[: len(path)])
    origin = next(related, file)
    if error["type"] == "extra_forbidden":
        allowed = sorted(_model_at(model, path[:-1]).model_fields)
        return f"{origin}: unknown key {key}{nearest(path[-1], allowed)}"
    if error["type"] == "missing":
        return f"{origin}: key {key} is missing"
    if error["type"] == "literal_error":
        values = _literals(model, path)
        return f"{origin}: {key} cannot be {error['input']!r}{nearest(error['input'], values)}"
    if error["type"] == "value_error":
        return f"{origin}: {key}: {error['msg'].removeprefix('Value error, ')}"
    reason = error["msg"][0].lower() + error["msg"][1:]
    return f"{origin}: {key} cannot be {error['input']!r}: {reason}"


def _model_at(model: type[BaseModel], path: Sequence[str]) -> type[BaseModel]:
    """The model that validates the mapping at `path`."""
    for key in path:
        model = next(kind for kind in _alternatives(model, key) if _is_model(kind))
    return model


def _literals(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    annotations = _alternatives(_model_at(model, path[:-1]), path[-1])
    return [
        str(value)
        for kind in annotations
        if get_origin(kind) is Literal
        for value in get_args(kind)
    ]


def _alternatives(model: type[BaseModel], key: str) -> tuple[Any, ...]:
    annotation = model.model_fields[key].annotation
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
