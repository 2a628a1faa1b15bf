"""`bazel run //tools/docs:recipe`: all that a recipe may say, as a page for people and as JSON Schemas for editors.

A job on a cluster has a schema, too.

Both are made of the configuration's classes: types and bounds from pydantic's own schema, words from the docstring of a
class and the string below a field. What the classes check beyond one key, such as two keys that exclude each other, is
in neither: a program that reads a recipe says so in a line.
"""

import ast
import inspect
import itertools
import json
import math
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from typing import Annotated, Any, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from retort.core.config import Frozen, read_values, recipe_names
from retort.data.preparation import recipe as preparation
from retort.data.preparation.recipe import PreparationRecipe
from retort.launch.job import JobConfig
from retort.train import recipe as training
from retort.train.recipe import TrainingRecipe

COMMAND = "./tools/bazel run //tools/docs:recipe"
MODELINE = "# yaml-language-server: $schema="
"""How the first line of a recipe starts that tells editors its schema."""
_PAGE = "docs/recipe.md"
_TRAINING = "docs/recipe.schema.json"
_DATA = "docs/data_recipe.schema.json"
_JOB_PAGE = "docs/job.md"
_JOB = "docs/job.schema.json"
_KINDS = {
    "boolean": "`true`, `false`",
    "integer": "whole number",
    "null": "`null`",
    "number": "number",
    "path": "path",
    "string": "text",
}
_EXACT = 10_000
"""Integers up to here are written out; above, a power of two says more."""

_INTRODUCTION = f"""\
<!-- Made from the configuration's classes by `{COMMAND}`; a test holds it to them. -->

# What a recipe may say

A recipe is a YAML file; `--set train.steps=200` changes one key of it. `//train` reads [training
recipes](#training-recipes), and `//data:prepare` [data recipes](#data-recipes). Sections and keys that have a default
may be left out. A key that is not here, a value that cannot be and keys that exclude each other are refused in a line.

Editors that know the YAML language server complete and check a recipe whose first line names its schema, by an address
or a path from the recipe's own folder: [recipe.schema.json](recipe.schema.json) for `//train`,
[data_recipe.schema.json](data_recipe.schema.json) for `//data:prepare`.

```yaml
{MODELINE}../docs/recipe.schema.json
```
"""


_JOBS = f"""\
<!-- Made from the configuration's classes by `{COMMAND}`; a test holds it to them. -->

# What a job may say

`//launch:render` makes the objects of a cluster of it ([kubernetes.md](kubernetes.md)); `--set nodes=2` changes a key.
Editors complete and check a file whose first line names [its schema](job.schema.json):

```yaml
{MODELINE}docs/job.schema.json
```
"""


class _Schema(GenerateJsonSchema):
    """Without the titles that pydantic makes of names: `Weight Decay` says no more than `weight_decay`."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Field to the string below it, of the class or of those that it extends; a field without one is left out."""
    found = {}
    for kind in reversed(model.__mro__):
        if not issubclass(kind, Frozen) or kind is Frozen:
            continue
        (written,) = ast.parse(inspect.getsource(kind)).body
        assert isinstance(written, ast.ClassDef)
        for field, below in itertools.pairwise(written.body):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found[name] = " ".join(text.split())
    return {key: found[key] for key in model.model_fields if key in found}


def sections(model: type[BaseModel], at: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every part of a recipe that has keys of its own, by its dotted key, in the order in which they are declared."""
    yield at, model
    for key, field in model.model_fields.items():
        if (inner := _inner(field.annotation)) is not None:
            yield from sections(inner, f"{at}.{key}".lstrip("."))


def _inner(annotation: Any) -> type[BaseModel] | None:
    kinds = [_plain(one) for one in (annotation, *get_args(annotation))]
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)


def _plain(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def schema(model: type[BaseModel]) -> JsonSchemaValue:
    """The JSON Schema (2020-12) of a recipe, with the words of the classes as descriptions."""
    made = model.model_json_schema(by_alias=False, schema_generator=_Schema)
    for _, kind in sections(model):
        described = made if kind is model else made["$defs"][kind.__name__]
        for key, text in docstrings(kind).items():
            described["properties"][key]["description"] = text
    return {"$schema": _Schema.schema_dialect, **made}


def outputs() -> dict[str, str]:
    """The files of the reference, by their path in the checkout."""
    schemas = {
        _TRAINING: schema(TrainingRecipe),
        _DATA: schema(PreparationRecipe),
        _JOB: schema(JobConfig),
    }
    texts = {path: json.dumps(made, indent=2) + "\n" for path, made in schemas.items()}
    pages = {_PAGE: _page(schemas[_TRAINING], schemas[_DATA]), _JOB_PAGE: _job_page(schemas[_JOB])}
    return {**pages, **texts}


def _job_page(made: JsonSchemaValue) -> str:
    parts = [_JOBS]
    for path, kind in sections(JobConfig):
        if path:
            parts.append(f"## `{path}`\n\n{_words(kind)}\n")
        parts.append(_table(path, kind, made))
    return "\n".join(parts)


def _page(train: JsonSchemaValue, data: JsonSchemaValue) -> str:
    said: dict[type[BaseModel], str] = {}
    parts = [
        _INTRODUCTION,
        *_part("Training recipes", TrainingRecipe, train, training.recipes(), said),
        *_part("Data recipes", PreparationRecipe, data, preparation.recipes(), said),
    ]
    return "\n".join(parts)


def _part(
    title: str,
    model: type[BaseModel],
    made: JsonSchemaValue,
    directory: Traversable,
    said: dict[type[BaseModel], str],
) -> Iterator[str]:
    """The chapter of one kind of recipe.

    Args:
        said: classes whose table stands on the page, and their keys; those of this chapter are added.
    """
    yield f"## {title}\n\n{_words(model)}\n"
    for path, kind in sections(model):
        # A class that another extends, as the documents of a data recipe are, need not say everything again.
        same = next((known for known in said if issubclass(known, kind)), None)
        if same is not None and "." in path:
            continue
        if path:
            yield f"### `{path}`\n\n{_words(kind)}\n"
        if same is None:
            yield _table(path, kind, made)
            said[kind] = path
        else:
            yield _as_above(kind, same, said[same])
        if "." not in path:
            yield from _examples(path, directory)


def _words(kind: type[BaseModel]) -> str:
    return inspect.getdoc(kind) or ""


def _as_above(kind: type[BaseModel], same: type[BaseModel], path: str) -> str:
    lacking = [f"`{key}`" for key in same.model_fields if key not in kind.model_fields]
    without = f", without {', '.join(lacking)}" if lacking else ""
    return f"As {_link(path)} of a training recipe{without}.\n"


def _table(path: str, kind: type[BaseModel], made: JsonSchemaValue) -> str:
    described = made["$defs"].get(kind.__name__, made)
    words = docstrings(kind)
    rows = ["| key | allowed | default | |", "|---|---|---|---|"]
    for key, field in kind.model_fields.items():
        value = described["properties"][key]
        inner = _inner(field.annotation)
        text = words.get(key) or (_words(inner).split("\n\n")[0] if inner else "")
        forms = [one for one in value.get("oneOf", () if inner else (value,)) if "$ref" not in one]
        section = [f"section {_link(f'{path}.{key}'.lstrip('.'))}"] if inner else []
        allowed = " or ".join([*map(_allowed, forms), *section])
        default = "required" if field.is_required() else _default(value, inner)
        cells = [f"`{key}`", allowed, default, " ".join(text.split())]
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def _link(path: str) -> str:
    return f"[`{path}`](#{path.replace('.', '')})"


def _default(value: Mapping[str, Any], inner: type[BaseModel] | None) -> str:
    if value.get("default") is None and "default" in value:
        return "none"
    if inner is not None:
        return "its own"
    flow = yaml.safe_dump(value.get("default", {}), default_flow_style=True).split("\n")[0]
    return f"`{flow}`"


def _allowed(value: Mapping[str, Any]) -> str:
    """What a key may be, in words, from its JSON Schema."""
    kind = value.get("type")
    if "anyOf" in value:
        # That a key without a default may be left empty goes without saying.
        some = [one for one in value["anyOf"] if one.get("type") != "null" or value["default"]]
        return " or ".join(map(_allowed, some))
    if "enum" in value or "const" in value:
        return ", ".join(f"`{one}`" for one in value.get("enum", [value.get("const")]))
    if kind == "array":
        return (
            f"list of: {'; '.join(map(_allowed, value.get('prefixItems', [value.get('items')])))}"
        )
    if kind == "object":
        each = value.get("additionalProperties")
        return f"names to: {_allowed(each)}" if isinstance(each, dict) else "names to values"
    if "pattern" in value:
        return f"text like `{value['pattern']}`"
    return f"{_KINDS[value.get('format', kind)]}{_bounds(value)}"


def _bounds(value: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [f"{sign} {_number(value[name])}" for name, sign in signs.items() if name in value]
    return f" {', '.join(found)}" if found else ""


def _number(value: float) -> str:
    mantissa, exponent = math.frexp(value)
    if mantissa == 0.5 and not 1 / _EXACT < value < _EXACT:
        return f"2^{exponent - 1}"
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def _examples(section: str, directory: Traversable) -> Iterator[str]:
    """A section as the recipes that have names write it: of each that has a key which none before it had."""
    if not section:
        yield "| recipe | |\n|---|---|"
        for name in recipe_names(directory):
            yield f"| `{name}` | {_about((directory / f'{name}.yaml').read_text('utf-8'))} |"
        yield ""
        return
    shown: set[str] = set()
    for name in recipe_names(directory):
        file = directory / f"{name}.yaml"
        keys = set(_keys(read_values(file).get(section)))
        if keys <= shown:
            continue
        shown |= keys
        written = re.search(rf"^{section}:.*\n(?:[ #].*\n)*", file.read_text("utf-8"), re.M)
        if written is not None:
            yield f"In `{name}`:\n\n```yaml\n{written[0]}```\n"


def _keys(value: Any, at: str = "") -> Iterator[str]:
    if not isinstance(value, dict):
        yield at
        return
    for key, one in value.items():
        yield from _keys(one, f"{at}.{key}")


def _about(text: str) -> str:
    """What the first comment of a recipe says, less the line for editors."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    return " ".join(line.lstrip("# ") for line in lines if not line.startswith(MODELINE))


def main() -> None:
    """Writes the files into the checkout."""
    for path, text in outputs().items():
        pathlib.Path(os.environ["BUILD_WORKSPACE_DIRECTORY"], path).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
