"""Evaluates a module's .bzl files far enough to see the attributes of its rules and tag classes.

Bazel's builtins are replaced by recorders: `attr.*`, `rule`, `tag_class`, `module_extension` keep
their arguments, everything else answers any use. A file that needs more fails to evaluate, loudly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import starlark
from starlark import BuiltinFunction, Dict, EvalError, Module, Namespace, StarlarkList, Thread
from starlark.eval.builtins import current_thread, with_thread
from starlark.eval.evaluator import call
from starlark.eval.function import StarlarkFunction
from starlark.values import starlark_type, to_value


class _AnyFields(dict[str, Any]):
    """The fields of a value about which nothing is known: every name is there."""

    def __init__(self, owner: str) -> None:
        super().__init__()
        self._owner = owner

    def __contains__(self, name: object) -> bool:
        return True

    def __getitem__(self, name: str) -> Any:
        return _GENERATED.get(name, Unknown(f"{self._owner}.{name}"))


# Constants of files that only a build generates, where an operator is applied to them.
_GENERATED = {"EXTRA_TRANSITION_SETTINGS": to_value([])}


class Unknown(BuiltinFunction):
    """A builtin or an outside symbol: it can be called, and it has every field."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, impl=lambda *_, **__: Unknown(f"{name}()"))

    @property
    def fields(self) -> dict[str, Any]:
        return _AnyFields(self.name)


class Recorded(BuiltinFunction):
    """What `rule`, `tag_class`, `module_extension` or `attr.*` returned: its keyword arguments."""

    def __init__(self, kind: str, arguments: Mapping[str, Any]) -> None:
        super().__init__(name=kind, impl=lambda *_, **__: None)
        self.fields = dict(arguments)

    def keys_of(self, name: str) -> list[str]:
        """The public names in the dict argument `name`."""
        value = self.fields.get(name)
        return sorted(key for key in (value or {}) if not key.startswith("_"))


class _Label(str):
    """A label: hashable and printable like Bazel's, and silent about the rest."""

    __slots__ = ()

    @property
    def fields(self) -> dict[str, Any]:
        return _AnyFields(str(self))


def _recorder(kind: str) -> BuiltinFunction:
    return BuiltinFunction(
        name=kind, impl=lambda *positional, **named: _record(kind, positional, named)
    )


def _record(kind: str, positional: tuple[Any, ...], named: dict[str, Any]) -> Recorded:
    if positional:
        named = {"implementation": positional[0], **named}
    return Recorded(kind, named)


def _provider(*_: object, **named: Any) -> Any:
    made = Unknown("provider")
    return (made, Unknown("raw provider")) if "init" in named else made


def _struct(**named: Any) -> Namespace:
    return Namespace("struct", dict(named))


class _AttrFields(_AnyFields):
    def __getitem__(self, name: str) -> Any:
        return _recorder(f"attr.{name}")


class _NativeFields(_AnyFields):
    """`native` of Bazel 9, where the rules of languages live in modules."""

    def __contains__(self, name: object) -> bool:
        return not str(name).startswith(("cc_", "java_", "objc_", "proto_", "py_", "sh_"))


def _builtins() -> dict[str, Any]:
    table: dict[str, Any] = {
        name: _recorder(name)
        for name in ("rule", "tag_class", "module_extension", "repository_rule", "aspect", "macro")
    }
    table["attr"] = Namespace("attr", _AttrFields("attr"))
    table["provider"] = BuiltinFunction(name="provider", impl=_provider)
    table["struct"] = BuiltinFunction(name="struct", impl=_struct)
    table["Label"] = BuiltinFunction(name="Label", impl=_Label)
    table["visibility"] = BuiltinFunction(name="visibility", impl=lambda *_: None)
    table["native"] = Namespace("native", _NativeFields("native"))
    for name in _OPAQUE_NAMES.split():
        table[name] = Unknown(name)
    return table


_OPAQUE_NAMES = """
AnalysisTestResultInfo CcInfo CcToolchainConfigInfo DefaultInfo InstrumentedFilesInfo
OutputGroupInfo PyInfo PyRuntimeInfo PyWrapCcInfo RunEnvironmentInfo analysis_test_transition
apple_common cc_common config config_common configuration_field coverage_common depset
exec_group exec_transition platform_common py_internal select subrule testing transition
CcToolchainInfo DebugPackageInfo CcSharedLibraryInfo cc_proto_aspect java_common
"""


class World:
    """The modules whose sources are at hand; any other module answers any load."""

    def __init__(self, sources: Mapping[str, Path]) -> None:
        self._sources = dict(sources)
        self._loaded: dict[tuple[str, str], Module] = {}

    def evaluate(self, module: str, label: str) -> Module:
        """Evaluates `//package:file.bzl` of `module`. Raises `EvalError`, naming the file."""
        key = (module, label)
        if key not in self._loaded:
            package, _, name = label.removeprefix("//").partition(":")
            path = self._sources[module] / package / name
            loaded = starlark.exec_file(
                path.read_text(encoding="utf-8"),
                f"@{module}{label}",
                predeclared=_builtins(),
                universal={"type": BuiltinFunction(name="type", impl=_type)},
                loader=self._loader(module, package),
            )
            loaded.globals = {k: _carried(v, loaded.thread) for k, v in loaded.globals.items()}
            self._loaded[key] = loaded
        return self._loaded[key]

    def _loader(self, module: str, package: str) -> Callable[[str], Module]:
        def load(wanted: str) -> Module:
            repository, slashes, rest = wanted.partition("//")
            target_module = (repository.lstrip("@") if slashes else "") or module
            if target_module not in self._sources or wanted.startswith("@") > bool(slashes):
                return _outside(wanted)
            label = f"//{rest}" if slashes else f"//{package}:{wanted.removeprefix(':')}"
            try:
                return self.evaluate(target_module, label)
            except (FileNotFoundError, RecursionError) as error:
                raise EvalError(f"cannot evaluate {wanted}: {error}") from error

        return load


class _Carried(BuiltinFunction):
    """A Starlark function, seen from another file."""


def _type(value: Any) -> str:
    return "function" if isinstance(value, _Carried) else starlark_type(value)


def _carried(value: Any, home: Thread) -> Any:
    """`value` for use in another file: its functions keep the globals of the file they are from.

    The interpreter looks a function's globals up in the file that calls it. Containers are changed
    in place, because Starlark code shares them.
    """
    if isinstance(value, StarlarkFunction):

        def enter(*args: Any, **named: Any) -> Any:
            caller = current_thread()
            positional = [_carried(argument, caller) for argument in args]
            by_name = {name: _carried(argument, caller) for name, argument in named.items()}
            with with_thread(home):
                return _carried(call(value, positional, by_name, home), home)

        return _Carried(name=value.name, impl=enter)
    if isinstance(value, Namespace) and not isinstance(value.fields, _AnyFields):
        value.fields.update({name: _carried(item, home) for name, item in value.fields.items()})
    elif isinstance(value, Dict):
        value._data.update({key: _carried(item, home) for key, item in value._data.items()})
    elif isinstance(value, StarlarkList):
        value._data[:] = [_carried(item, home) for item in value._data]
    return value


def _outside(label: str) -> Module:
    module = Module(label)
    module.globals = _AnyFields(label)
    return module
