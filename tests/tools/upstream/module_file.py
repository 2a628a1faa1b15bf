"""Evaluates a MODULE.bazel file with recorders in place of Bazel's functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import starlark
from starlark import BuiltinFunction
from starlark.values import from_value

from tests.tools.upstream.syntax import Source


@dataclasses.dataclass(frozen=True)
class Tag:
    """One call such as `pip.parse(...)`: the extension's file and name, the tag, its arguments."""

    file: str
    extension: str
    name: str
    arguments: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Rule:
    """One repository that a rule of `use_repo_rule` makes: the rule's file and name, its arguments."""

    file: str
    name: str
    arguments: dict[str, Any]


@dataclasses.dataclass
class ModuleFile:
    """What a MODULE.bazel file says."""

    deps: dict[str, str] = dataclasses.field(default_factory=dict)
    tags: list[Tag] = dataclasses.field(default_factory=list)
    repositories: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    rules: list[Rule] = dataclasses.field(default_factory=list)

    def known_repositories(self) -> set[str]:
        """The names by which this module's files know other repositories; the engine brings one."""
        used = {name for names in self.repositories.values() for name in names}
        return (
            {"bazel_tools"}
            | set(self.deps)
            | used
            | {rule.arguments["name"] for rule in self.rules}
        )

    def tagged(self, extension: str, name: str) -> list[dict[str, Any]]:
        """The arguments of each `extension.name(...)`."""
        return [t.arguments for t in self.tags if (t.extension, t.name) == (extension, name)]


class _TagFields(dict[str, Any]):
    """The tag classes of an extension: any name; whether it is a real one is checked later."""

    def __init__(self, make: Callable[[str], BuiltinFunction]) -> None:
        super().__init__()
        self._make = make

    def __contains__(self, name: object) -> bool:
        return True

    def __getitem__(self, name: str) -> BuiltinFunction:
        return self._make(name)


class _Extension:
    """What `use_extension` returns."""

    _starlark_type = "module_extension_proxy"

    def __init__(self, found: ModuleFile, file: str, name: str) -> None:
        self.name = name
        self.fields = _TagFields(lambda tag: _tag_recorder(found, file, name, tag))


def _tag_recorder(found: ModuleFile, file: str, extension: str, tag: str) -> BuiltinFunction:
    def record(**arguments: Any) -> None:
        plain = {name: from_value(value) for name, value in arguments.items()}
        found.tags.append(Tag(file, extension, tag, plain))

    return BuiltinFunction(name=f"{extension}.{tag}", impl=record)


def evaluate(source: Source) -> ModuleFile:
    """Raises `starlark.EvalError` for a function or argument that MODULE.bazel does not have."""
    found = ModuleFile()

    def bazel_dep(
        name: str, version: str = "", repo_name: str | None = None, dev_dependency: bool = False
    ) -> None:
        found.deps[name] = version

    def use_extension(
        extension_bzl_file: str, extension_name: str, *, dev_dependency: bool = False
    ) -> _Extension:
        return _Extension(found, extension_bzl_file, extension_name)

    def use_repo(extension: _Extension, *names: str, **renamed: str) -> None:
        found.repositories.setdefault(extension.name, []).extend([*names, *renamed.values()])

    def use_repo_rule(repo_rule_bzl_file: str, repo_rule_name: str) -> BuiltinFunction:
        def record(**arguments: Any) -> None:
            plain = {name: from_value(value) for name, value in arguments.items()}
            found.rules.append(Rule(repo_rule_bzl_file, repo_rule_name, plain))

        return BuiltinFunction(name=repo_rule_name, impl=record)

    def module(
        name: str = "", version: str = "", compatibility_level: int = 0, repo_name: str = ""
    ) -> None:
        pass

    starlark.exec_file(
        source.text,
        source.path,
        predeclared={
            function.__name__: BuiltinFunction(name=function.__name__, impl=function)
            for function in (bazel_dep, use_extension, use_repo, use_repo_rule, module)
        },
    )
    return found
