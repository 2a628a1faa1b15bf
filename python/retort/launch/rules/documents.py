"""Manifests as they are read: objects with the file that each is from, in sets that are applied together."""

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import yaml

from retort.core.errors import UserError, shown

_SUFFIXES = (".json", ".yaml", ".yml")
_KUSTOMIZATION = ("Kustomization", "kustomization.yaml", "kustomization.yml")
_MOST = 1 << 24


@dataclass(frozen=True)
class Finding:
    """What is wrong.

    Attributes:
        at: the object, as kubectl names it, and the dotted path in it.
        what: what is wrong there, and what to do.
    """

    file: str
    at: str
    what: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.at, self.what) if part)


@dataclass(frozen=True)
class Document:
    """A Kubernetes object, and where it was read."""

    file: str
    value: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return str(self.value["kind"])

    @property
    def api_version(self) -> str:
        return str(self.value["apiVersion"])

    @property
    def name(self) -> str:
        return str(self.value["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Nothing where kubectl's own decides."""
        return str(self.value["metadata"].get("namespace") or "")

    @property
    def spec(self) -> Mapping[str, Any]:
        return self.value.get("spec") or {}

    def finding(self, path: str, what: str) -> Finding:
        return Finding(self.file, f"{self.kind}/{self.name}: {path}", what)


@dataclass(frozen=True)
class Applied:
    """Objects that are applied together, and what was found while they were read."""

    documents: tuple[Document, ...] = ()
    findings: tuple[Finding, ...] = ()

    def __add__(self, other: "Applied") -> "Applied":
        return Applied(self.documents + other.documents, self.findings + other.findings)


class _Loader(yaml.CSafeLoader):
    """YAML as kubectl reads it: a time is text, and a key that is given twice is an error."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        letter: [one for one in found if one[0] != "tag:yaml.org,2002:timestamp"]
        for letter, found in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"a key is given twice: {key.value}", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read(paths: Sequence[Path], kubectl: str, start: Path) -> list[Applied]:
    """The sets of objects in files and directories.

    A directory with a kustomization is rendered by kubectl, and is a set of its own; one that is a
    component is no set. The other files of a directory are one set, and so are all files that are
    named.

    Args:
        kubectl: the program.
        start: what names of files in findings are relative to.
    Raises:
        UserError: a path is not there, or a directory holds no manifest.
    """
    files = [path for path in paths if not path.is_dir()]
    found = []
    if files:
        found.append(_read_files(files, start))
    for path in paths:
        if path.is_dir():
            # What kubectl renders meanwhile it renders in processes of its own.
            with ThreadPoolExecutor() as pool:
                reading = [pool.submit(reader) for reader in _readers(path, kubectl, start)]
                inside = [one.result() for one in reading]
            if not inside:
                raise UserError(
                    f"{shown(path)}: holds no manifests; give a file or a directory of them"
                )
            found += inside
    return found


def read_stream(stream: TextIO) -> Applied:
    """The objects of standard input, as one set."""
    return parse(stream.read(_MOST), "standard input")


def _read_file(path: Path, start: Path) -> Applied:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{shown(path)}: does not exist; give a file or a directory") from None
    except UnicodeDecodeError:
        return Applied((), (Finding(_name(path, start), "", "is not UTF-8; write it anew"),))
    except OSError as error:
        raise UserError(f"{shown(path)}: cannot be read: {error.strerror}") from error
    return parse(text, _name(path, start))


def _readers(path: Path, kubectl: str, start: Path) -> Iterator[Callable[[], Applied]]:
    """What reads each set of a directory."""
    kustomization = next((path / name for name in _KUSTOMIZATION if (path / name).is_file()), None)
    if kustomization is not None:
        if "kind: Component" not in kustomization.read_text("utf-8", "replace").splitlines():
            yield partial(render, path, kubectl, start)
        return
    files = []
    for inside in sorted(path.iterdir()):
        if inside.is_dir() and not inside.name.startswith("."):
            yield from _readers(inside, kubectl, start)
        elif inside.suffix in _SUFFIXES:
            files.append(inside)
    if files:
        yield partial(_read_files, files, start)


def _read_files(paths: Sequence[Path], start: Path) -> Applied:
    together = Applied()
    for path in paths:
        together += _read_file(path, start)
    return together


def render(path: Path, kubectl: str, start: Path) -> Applied:
    """What `kubectl apply -k` would send."""
    done = subprocess.run(
        [kubectl, "kustomize", str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = shown(" ".join(done.stderr.split()).removeprefix("error: "))
        what = f"kubectl cannot render it: {said}; see that kubectl kustomize does"
        return Applied((), (Finding(_name(path, start), "", what),))
    return parse(done.stdout, _name(path, start))


def parse(text: str, file: str) -> Applied:
    """The objects of a text; those of a List each by itself."""
    try:
        values = [one for one in yaml.load_all(text, _Loader) if one is not None]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = shown(" ".join(str(error).split()))
        return Applied((), (Finding(file, "", f"is not valid YAML: {said}; mend it there"),))
    applied = Applied()
    for value in values:
        several = isinstance(value, dict) and value.get("kind") == "List"
        for one in (value.get("items") or []) if several else [value]:
            applied += _object(one, file)
    return applied


def _object(value: Any, file: str) -> Applied:
    def wrong(at: str, what: str) -> Applied:
        return Applied((), (Finding(file, at, what),))

    if not isinstance(value, dict):
        return wrong("", "holds a document that is no object; give apiVersion, kind and metadata")
    for key in ("apiVersion", "kind"):
        if not isinstance(value.get(key), str) or not value[key]:
            return wrong(key, "is missing, or no text; say which kind of object it is")
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not name:
        return wrong(f"{value['kind']}: metadata.name", "is missing, or no text; give it a name")
    try:
        return Applied((Document(file, _without_nulls(value)),))
    except _NullError as error:
        return wrong(
            f"{value['kind']}/{name}: {error}", "is null, which no element can be; remove it"
        )


class _NullError(Exception):
    """Where it is."""


def _without_nulls(value: Any, path: str = "") -> Any:
    """As the API server reads it: a key that is null is not there."""
    if isinstance(value, dict):
        return {
            key: _without_nulls(one, f"{path}.{key}".lstrip("."))
            for key, one in value.items()
            if one is not None
        }
    if isinstance(value, list):
        if None in value:
            raise _NullError(f"{path}.{value.index(None)}")
        return [_without_nulls(one, f"{path}.{number}") for number, one in enumerate(value)]
    return value


def _name(path: Path, start: Path) -> str:
    return shown(path.relative_to(start) if path.is_relative_to(start) else path)
