"""Configuration: frozen pydantic models, read from a YAML recipe and `--set` overrides."""

import difflib
import json
import logging
import math
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

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

from retort.core.digest import JSON, canonical_json, open_regular
from retort.core.errors import ConfigError, UserError, shown
from retort.core.paths import resolved

_log = logging.getLogger(__name__)
_MOST = 1 << 17
"""Bytes of a recipe. Ours have some hundred."""
_DEPTH = 32
"""Levels of a recipe. Ours have four; what recurses over values shall come to its end."""
_SHOWN = 120
"""Characters of a value in a message."""
_LEAST, _GREATEST = -(2**63), 2**63 - 1
FORM = "form:"
"""What the tag of each form begins with, where a value is a word or a mapping. A message does not name it."""


class Frozen(BaseModel):
    """A component's configuration: it cannot change, and it knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    called: ClassVar[str] = "the recipe"
    """What a message names that is about no single key."""
    former_keys: ClassVar[Mapping[str, str]] = {}
    """Former spelling of a key of a recipe, and the key. It is read, with a notice, for one version."""


ConfigT = TypeVar("ConfigT", bound=Frozen)


def _resolve(path: Path, info: ValidationInfo) -> Path:
    start: Path = (info.context or {}).get("start", Path())
    try:
        return resolved(str(path), start)
    except UserError as error:
        raise ValueError(error) from error


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
    values = _respelt(model, read_values(source), shown(name))
    origins: dict[tuple[str, ...], str] = {}
    for override in overrides:
        key, separator, text = override.partition("=")
        path = tuple(key.strip().split("."))
        origin = f"--set {shown(override)}"
        if not separator or not all(path):
            raise ConfigError(f"{origin}: write it as key=value, such as optimizer.lr=3e-5")
        if len(path) > _DEPTH:
            raise ConfigError(f"{origin}: has {len(path)} levels, and {_DEPTH} are possible")
        if path[0] in model.former_keys:
            _tell_former(model, path[0], origin)
            path = (model.former_keys[path[0]], *path[1:])
        _assign(values, path, _yaml(text, origin), origin)
        origins[path] = origin
    try:
        config = model.model_validate(values, context={"start": start})
    except ValidationError as error:
        # A misspelt key is both unknown and missing; the former says more.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        raise ConfigError(_describe(model, first, origins, shown(name))) from error
    return Recipe(name.rsplit("/", 1)[-1].rsplit(".", 1)[0], config)


def _respelt(model: type[Frozen], values: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """The values of a recipe with the keys as they are called now."""
    found = dict(values)
    for former in model.former_keys.keys() & values.keys():
        key = model.former_keys[former]
        if key in values:
            raise ConfigError(
                f"{origin}: has {key} and its former spelling {former}; remove {former}"
            )
        _tell_former(model, former, origin)
        found[key] = found.pop(former)
    return found


def _tell_former(model: type[Frozen], former: str, origin: str) -> None:
    _log.warning(
        "%s: %s is called %s now; the old name is read in this version and not in the next",
        *(origin, former, model.former_keys[former]),
    )


def read_values(source: Path | Traversable) -> dict[str, Any]:
    """The keys and values of a recipe's file, not yet validated.

    Raises:
        ConfigError: it cannot be read, or is no mapping in the part of YAML that recipes have.
    """
    name = shown(source) if isinstance(source, Path) else source.name
    try:
        with open_regular(source) if isinstance(source, Path) else source.open("rb") as file:
            content = file.read(_MOST + 1)
        # What is cut off may end in half a letter, and is too long whatever it ends in.
        text = content.decode("utf-8", "strict" if len(content) <= _MOST else "replace")
    except FileNotFoundError as error:
        raise ConfigError(f"{name}: does not exist; give a recipe's name or file") from error
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read as a recipe: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: cannot be read as a recipe: it is not UTF-8") from error
    values = _yaml(text, name)
    if not isinstance(values, dict):
        raise ConfigError(f"{name}: a recipe is a mapping of keys to values")
    return values


def find_recipe(directory: Traversable, recipe: str, start: Path) -> Path | Traversable:
    """A recipe's file, from its name in `directory` or from a path (with a slash or a suffix).

    Args:
        start: the directory that a relative path starts from.
    """
    if "/" in recipe or recipe.endswith((".yaml", ".yml")):
        try:
            return resolved(recipe, start)
        except UserError as error:
            raise ConfigError(f"--config {error}") from error
    names = recipe_names(directory)
    if recipe not in names:
        hint = nearest(recipe, names)
        raise ConfigError(
            f"--config {shown(recipe)}: no such recipe{hint}; or give the path of a file"
        )
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
    near = difflib.get_close_matches(str(wrong)[:_SHOWN], allowed, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ";"
    return f"{hint} allowed: {', '.join(allowed)}"


class _Loader(yaml.SafeLoader):
    """The part of YAML 1.2's core schema that recipes have: `3e-5` is a number, and `no` is a word.

    A key is the text that is written. There are no tags, anchors and aliases, and only so many
    levels: what is read is a tree, which is no larger than its file.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._levels = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise _refusal(f"anchors and aliases are not read: {event.anchor}", event.start_mark)
        if event.tag is not None:
            raise _refusal(f"tags are not read: {event.tag}", event.start_mark)
        if self._levels == _DEPTH:
            raise _refusal(f"there are more than {_DEPTH} levels", event.start_mark)
        self._levels += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._levels -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refusal("a key is not text", key.start_mark)
            if key.value in mapping:
                raise _refusal(f"a key is given twice: {key.value}", key.start_mark)
            mapping[_text(key)] = self.construct_object(value, deep=True)
        return mapping

    def construct_yaml_str(self, node: yaml.ScalarNode) -> str:
        return _text(node)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        # Python reads no more than some thousand digits.
        if len(node.value) > _SHOWN or not _LEAST <= int(node.value) <= _GREATEST:
            raise _refusal(f"a whole number is not within 64 bits: {node.value}", node.start_mark)
        return int(node.value)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        value = float(node.value)
        if math.isinf(value):
            raise _refusal(f"a number is too large: {node.value}", node.start_mark)
        return value


for _kind in ("str", "int", "float"):
    _Loader.add_constructor(
        f"tag:yaml.org,2002:{_kind}", getattr(_Loader, f"construct_yaml_{_kind}")
    )


def _text(node: yaml.ScalarNode) -> str:
    """What is written, which an escape such as `"\\ud800"` can make something else than text."""
    text: str = node.value
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise _refusal(f"half a surrogate pair is not text: {text}", node.start_mark)
    return text


def _refusal(what: str, mark: yaml.Mark) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, shown(what), mark)


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
    if len(text.encode("utf-8", "surrogatepass")) > _MOST:
        raise ConfigError(f"{origin}: is too long: more than {_MOST} bytes")
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # as for "\U00110000"
        detail = shown(" ".join(str(error).split()))
        raise ConfigError(f"{origin}: is not valid YAML: {detail}") from error


def _assign(values: dict[str, Any], path: tuple[str, ...], value: Any, origin: str) -> None:
    for depth, key in enumerate(path[:-1], start=1):
        inner = values.setdefault(key, {})
        if inner is None:
            inner = values[key] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"{origin}: {'.'.join(path[:depth])} has no keys of its own")
        values = inner
    values[path[-1]] = value


def _describe(
    model: type[Frozen], error: ErrorDetails, origins: Mapping[tuple[str, ...], str], file: str
) -> str:
    parts = [str(part) for part in error["loc"]]
    known = parts[:-1] if error["type"] == "extra_forbidden" else parts
    path = (*(one for one in known if not one.startswith(FORM)), *parts[len(known) :])
    key = shown(".".join(path)) or model.called
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
        return f"{origin}: {key} cannot be {_cut(error['input'])}{nearest(error['input'], values)}"
    if error["type"] == "value_error":
        return f"{origin}: {key}: {error['msg'].removeprefix('Value error, ')}"
    reason = error["msg"][0].lower() + error["msg"][1:]
    return f"{origin}: {key} cannot be {_cut(error['input'])}: {reason}"


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"


def _model_at(model: type[BaseModel], path: Sequence[str]) -> type[BaseModel]:
    """The model that validates the mapping at `path`."""
    keys = iter(path)
    for key in keys:
        kinds = _alternatives(model, key)
        found = next((kind for kind in kinds if _is_model(kind)), None)
        if found is None:  # names, and a model for each
            next(keys)
            _, found = get_args(next(kind for kind in kinds if get_origin(kind) is dict))
        model = found
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
    several = get_origin(annotation) in (Union, types.UnionType)
    kinds = get_args(annotation) if several else (annotation,)
    return tuple(get_args(one)[0] if get_origin(one) is Annotated else one for one in kinds)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
