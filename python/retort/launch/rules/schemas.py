"""Objects against schemas, strictly: a key that the schema does not have is an error, as nothing would read it."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from retort.core.config import nearest
from retort.core.errors import UserError, shown
from retort.launch.rules import sources
from retort.launch.rules.documents import Document, Finding


def _validators() -> ModuleType:
    """jsonschema without its check of one format, none of which is asked for: that loads for a second."""
    slow = "rfc3987_syntax"
    loaded = sys.modules.pop(slow, None)
    sys.modules[slow] = None  # type: ignore[assignment]
    try:
        import jsonschema.validators  # type: ignore[import-untyped]
    finally:
        del sys.modules[slow]
        if loaded is not None:
            sys.modules[slow] = loaded
    return jsonschema.validators  # type: ignore[no-any-return]


class Schemas:
    """Schemas of the kinds that Kubernetes has, and of custom kinds.

    Those of custom kinds are CustomResourceDefinitions where there is a directory of them, and
    otherwise made of the typed models of `kubeflow-training` and `kubeflow-trainer-api`.
    """

    def __init__(self, definitions: Path | None) -> None:
        """
        Args:
            definitions: a directory with CustomResourceDefinitions at any depth.
        Raises:
            UserError: there is no such directory.
        """
        if definitions is not None and not definitions.is_dir():
            raise UserError(
                f"RETORT_CRDS: {shown(definitions)} is not a directory; give one, or unset it"
            )
        self._definitions = definitions
        self._validators: dict[tuple[str, str], Any] = {}

    def knows(self, document: Document) -> bool:
        """Whether there is a schema for its kind."""
        return self._validator(document) is not None

    def problems(self, document: Document) -> Iterator[Finding]:
        """What the schema of its kind refuses; nothing for a kind without one."""
        validator = self._validator(document)
        if validator is None:
            yield from _misspelt(document)
            return
        errors = sorted(
            validator.iter_errors(document.value), key=lambda one: list(map(str, one.path))
        )
        unknown = [one.absolute_path for one in errors if one.validator == "additionalProperties"]
        for error in errors:
            # A misspelt key is both unknown and missing; the former says more.
            if error.validator != "required" or error.absolute_path not in unknown:
                yield document.finding(*_sentence(error))

    def _validator(self, document: Document) -> Any:
        key = (document.api_version, document.kind)
        if key not in self._validators:
            schema = self._schema(*key)
            made = None
            if schema is not None:
                made = _validators().Draft202012Validator(schema, registry=sources.registry())
            self._validators[key] = made
        return self._validators[key]

    def _schema(self, api_version: str, kind: str) -> sources.Schema | None:
        core = sources.core() / f"{sources.core_name(api_version, kind)}.json"
        if kind.isalnum() and core.is_file() and _kind_in(core) == kind:
            schema: sources.Schema = json.loads(core.read_text("utf-8"))
            return schema
        if self._definitions is not None:
            found = sources.defined(self._definitions, api_version, kind)
            if found is not None:
                return found
        if (api_version, kind) == sources.PYTORCH_JOB:
            return sources.pytorch_job()
        if (api_version, kind) == sources.POD_MONITOR:
            return sources.pod_monitor()
        if (api_version, kind) in sources.TRAINER:
            return sources.trainer(kind)
        return None


def _misspelt(document: Document) -> Iterator[Finding]:
    """A kind that nobody has, though its group or its name is known."""
    group = sources.core_group(document.api_version)
    custom = (sources.PYTORCH_JOB, sources.POD_MONITOR, *sources.TRAINER)
    # Beside kinds there are files of types, which no object is.
    files = [file for file in sources.core().glob("*.json") if _kind_in(file)]
    inside = [kind for version, kind in custom if version == document.api_version]
    inside += [_kind_in(file) for file in files if file.stem.partition("-")[2] == group]
    if inside:
        what = (
            f"{document.api_version} has none of that name{nearest(document.kind, sorted(inside))}"
        )
        yield document.finding("kind", what)
        return
    name = document.kind.lower()
    versions = [version for version, kind in custom if kind.lower() == name]
    versions += [_version_in(file) for file in files if file.stem.partition("-")[0] == name]
    if versions:
        what = f"{document.api_version} is not of a {document.kind}; write {' or '.join(sorted(versions))}"
        yield document.finding("apiVersion", what)


def _kind_in(file: Path) -> str:
    return str(_properties(file).get("kind", {}).get("enum", [""])[0])


def _version_in(file: Path) -> str:
    return str(_properties(file).get("apiVersion", {}).get("enum", [""])[0])


def _properties(file: Path) -> Mapping[str, Any]:
    properties: Mapping[str, Any] = json.loads(file.read_text("utf-8")).get("properties", {})
    return properties


def _sentence(error: Any) -> tuple[str, str]:
    """The path of an error, and what it is in words."""
    error = _innermost(error)
    path = ".".join(map(str, error.absolute_path))
    value, rule = error.instance, error.validator
    if rule == "additionalProperties" and isinstance(value, Mapping):
        allowed = sorted(error.schema.get("properties", {}))
        wrong = next(key for key in value if key not in error.schema.get("properties", {}))
        at = f"{path}.{wrong}".lstrip(".")
        return at, f"unknown key{nearest(wrong, allowed)}"
    if rule == "required":
        missing = next(key for key in error.validator_value if key not in value)
        return f"{path}.{missing}".lstrip("."), "is missing; give it"
    said = shown(json.dumps(value, default=str))
    said = said if len(said) < 80 else f"{said[:80]} …"
    if rule == "enum":
        return (
            path,
            f"cannot be {said}{nearest(value, [str(one) for one in error.validator_value if one is not None])}",
        )
    if rule == "type":
        kinds = error.validator_value
        wanted = [kinds] if isinstance(kinds, str) else [one for one in kinds if one != "null"]
        return path, f"cannot be {said}; give {' or '.join(map(_kind, wanted))}"
    if rule in ("anyOf", "oneOf"):
        return (
            path,
            f"cannot be {said}; give a value that one of its forms allows, such as a number or a text",
        )
    reason = shown(error.message)
    return path, f"cannot be {said}: {reason if len(reason) < 200 else rule}; see kubectl explain"


def _innermost(error: Any) -> Any:
    """Of a value that may have one of several forms: what is wrong in the one that was meant."""
    while error.context:
        meant = [one for one in error.context if one.validator != "type" or one.relative_path]
        if not meant:
            break
        error = max(meant, key=lambda one: len(one.absolute_path))
    return error


def _kind(name: str) -> str:
    words = {
        "array": "a list",
        "boolean": "true or false",
        "integer": "a whole number",
        "number": "a number",
        "object": "a mapping",
        "string": "a text, in quotes if it looks like a number",
    }
    return words[name]
