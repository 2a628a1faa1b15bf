"""Every Starlark file parses, loads in both engines, and uses what the real modules have."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlark import StarlarkSyntaxException

from tests.tools.upstream import checkout, module_file, portability, syntax

# What every rule of Bazel accepts in both engines, apart from its own attributes.
_COMMON_NAMES = """
args compatible_with deprecation exec_compatible_with exec_properties features flaky local name
restricted_to shard_count size tags target_compatible_with testonly timeout toolchains
visibility
"""
_COMMON_ATTRIBUTES = frozenset(_COMMON_NAMES.split())
_HUB_LABEL = re.compile(r"@(pypi|pypi_dev)//([^:]*)(?::(.*))?")
_HUB_TARGETS = frozenset({None, "data", "dist_info", "extracted_whl_files", "pkg", "whl"})


@pytest.fixture(scope="module")
def root() -> Path:
    return checkout.root_above(Path(__file__))


@pytest.fixture(scope="module")
def sources(root: Path) -> dict[str, syntax.Source]:
    return checkout.sources(root)


@pytest.fixture(scope="module")
def upstream(root: Path) -> dict[str, Any]:
    return checkout.real_modules(root)


@pytest.fixture(scope="module")
def module(sources: dict[str, syntax.Source]) -> module_file.ModuleFile:
    return module_file.evaluate(sources["MODULE.bazel"])


@pytest.fixture(scope="module")
def shared(root: Path, sources: dict[str, syntax.Source]) -> dict[str, syntax.Source]:
    return checkout.shared(root, sources)


def _source(text: str, name: str = "BUILD.bazel") -> syntax.Source:
    return syntax.parse(text, name)


# --- all files


def test_every_starlark_file_parses(sources: dict[str, syntax.Source]) -> None:
    expected = {"BUILD.bazel", "MODULE.bazel", "WORKSPACE", "WORKSPACE.bzlmod"}
    assert expected | {"tools/python/defs.bzl", "third_party/airgap/repositories.bzl"} <= set(
        sources
    )


@pytest.mark.parametrize(
    "broken",
    [
        "py_test(name = ",
        "def f(x: int):\n    pass\n",
        'x = f"{y}"\n',
        "import os\n",
        "while 1: pass\n",
    ],
)
def test_a_broken_file_does_not_parse(tmp_path: Path, broken: str) -> None:
    (tmp_path / "BUILD.bazel").write_text(broken)
    with pytest.raises(StarlarkSyntaxException, match=r"BUILD\.bazel:\d+:\d+"):
        syntax.read(tmp_path / "BUILD.bazel")


# --- BUILD and .bzl files of both engines


def test_shared_files_load_in_both_engines(shared: dict[str, syntax.Source]) -> None:
    assert [found for source in shared.values() for found in portability.findings(source)] == []


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("BUILD.bazel", 'py_test(name = "a")', "not loaded"),
        ("BUILD.bazel", 'sh_binary(name = "a")', "not loaded"),
        ("BUILD.bazel", 'cc_library(name = "a")', "not loaded"),
        ("a.bzl", "def f():\n    native.py_library(name = 'a')\n", "gone in Bazel 9"),
        ("a.bzl", "def f():\n    native.sh_test(name = 'a')\n", "gone in Bazel 9"),
        ("a.bzl", 'x = attr.label(cfg = "host")', "gone in Bazel 8"),
        ("a.bzl", "x = sorted([1], key = lambda v: -v)", "lambda"),
        ("a.bzl", "x = set([1])", "not loaded"),
        ("a.bzl", "x = {} | {}", "on dicts"),
        ("a.bzl", "def f(x):\n    x |= {}\n    return x\n", "on dicts"),
        ("a.bzl", "x = macro(implementation = print)", "not loaded"),
        ("a.bzl", "x = rule(implementation = print, initializer = print)", "initializer"),
        ("a.bzl", "x = rule(implementation = print, exec_groups = {})", "exec_groups"),
        ("a.bzl", "def f(ctx):\n    return RunEnvironmentInfo({})\n", "not loaded"),
        ("a.bzl", "def f():\n    native.package_relative_label('a')\n", "4.2.3"),
        ("a.bzl", "def f():\n    return native.repo_name()\n", "4.2.3"),
        ("a.bzl", 'x = use_repo_rule("a", "b")', "not loaded"),
        ("a.bzl", 'x = config_common.toolchain_type("//a")', "4.2.3"),
        ("a.bzl", "def f(rctx):\n    return rctx.getenv('A')\n", "4.2.3"),
        ("BUILD.bazel", 'genrule(name = "a", cmd = "$(rlocationpath :b)")', "rlocationpath"),
        ("BUILD.bazel", 'package_group(name = "a", packages = ["public"])', "public"),
        (
            "BUILD.bazel",
            'filegroup(name = "a", srcs = select({"@platforms//os:linux": []}))',
            "select",
        ),
    ],
)
def test_what_one_engine_lacks_is_found(name: str, text: str, reason: str) -> None:
    (found,) = portability.findings(_source(text, name))
    assert found.startswith(f"{name}:")
    assert reason in found


_MACROS = "tools/python/defs.bzl"
_MAKE_PROGRAMS = {f"@rules_python//python:{rule}.bzl" for rule in ("py_binary", "py_test", "defs")}


def _unisolated(source: syntax.Source) -> Iterator[str]:
    """Programs whose interpreter would be started without the flags that the macros give it."""
    for statement, label, _ in syntax.loads(source):
        if label in _MAKE_PROGRAMS:
            yield f"{source.where(statement)}: load py_binary and py_test from //{_MACROS}"


def test_programs_are_declared_by_the_macros_that_isolate_them(
    shared: dict[str, syntax.Source],
) -> None:
    others = [source for name, source in shared.items() if name != _MACROS]
    assert [found for source in others for found in _unisolated(source)] == []


@pytest.mark.parametrize("rule", ["py_binary", "py_test"])
def test_a_program_that_is_not_isolated_is_found(rule: str) -> None:
    text = f'load("@rules_python//python:{rule}.bzl", "{rule}")\n{rule}(name = "a")\n'
    (found,) = _unisolated(_source(text))
    assert found.startswith("BUILD.bazel:1: load py_binary")


def test_no_glob_is_empty_unless_it_may_be(root: Path, shared: dict[str, syntax.Source]) -> None:
    """Bazel 4.2.3 takes an empty glob, Bazel 8 does not."""
    builds = [source for name, source in shared.items() if not name.endswith(".bzl")]
    assert [found for source in builds for found in checkout.empty_globs(root, source)] == []


def test_an_empty_glob_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").touch()
    text = """\
filegroup(name = "a", srcs = glob(["*.py", "*.in"]))
filegroup(name = "b", srcs = glob(["*.in"], allow_empty = True))
filegroup(name = "c", srcs = glob(["*.in"]))
"""
    (found,) = checkout.empty_globs(tmp_path, _source(text))
    assert found.startswith("BUILD.bazel:3: glob")


def test_what_both_engines_have_is_not_found() -> None:
    text = """\
load("//a:b.bzl", "made")
made(name = "x", srcs = glob(["*.py"], allow_empty = False), visibility = ["//visibility:public"])
filegroup(name = "y", srcs = select({":linux": [":x"], "//conditions:default": []}))
"""
    assert portability.findings(_source(text)) == []


# --- what the real modules offer


def _bad_loads(
    source: syntax.Source, upstream: dict[str, Any], deps: dict[str, str]
) -> Iterator[str]:
    for statement, label, names in syntax.loads(source):
        repository, slashes, rest = label.partition("//")
        if not (repository and slashes):
            continue
        known = upstream.get(repository.lstrip("@"), {}).get("exports", {})
        if repository.lstrip("@") not in deps:
            yield f"{source.where(statement)}: {repository} is no bazel_dep of MODULE.bazel"
        for name in names:
            if name not in known.get(f"//{rest}", []):
                yield f"{source.where(statement)}: {label} exports no {name}"


def test_loads_from_modules_are_of_what_the_real_modules_export(
    shared: dict[str, syntax.Source], upstream: dict[str, Any], module: module_file.ModuleFile
) -> None:
    found = [bad for source in shared.values() for bad in _bad_loads(source, upstream, module.deps)]
    assert found == []


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        ('load("@rules_python//python:py_test.bzl", "py_tset")', "exports no py_tset"),
        ('load("@rules_python//python:tests.bzl", "py_test")', "exports no py_test"),
        ('load("@rules_go//go:def.bzl", "go_test")', "no bazel_dep"),
    ],
)
def test_a_load_that_the_real_module_does_not_offer_is_found(
    upstream: dict[str, Any], module: module_file.ModuleFile, load: str, reason: str
) -> None:
    assert reason in " ".join(_bad_loads(_source(load), upstream, module.deps))


def _bad_attributes(source: syntax.Source, upstream: dict[str, Any]) -> Iterator[str]:
    """Attributes given to a loaded rule that the real rule does not have."""
    known: dict[str, list[str]] = {}
    for _, label, names in syntax.loads(source):
        repository, _, rest = label.partition("//")
        rules = upstream.get(repository.lstrip("@"), {}).get("attributes", {}).get(f"//{rest}", {})
        known.update({name: rules[name] for name in names if name in rules})
    for call in syntax.calls(source):
        name = syntax.dotted(call.fn)
        for given in syntax.keywords(call) if name in known else ():
            if given not in _COMMON_ATTRIBUTES and given not in known[name]:
                yield f"{source.where(call)}: {name} has no attribute {given}"


def test_attributes_given_to_rules_are_those_of_the_real_rules(
    shared: dict[str, syntax.Source], upstream: dict[str, Any]
) -> None:
    assert [bad for source in shared.values() for bad in _bad_attributes(source, upstream)] == []


def test_an_attribute_that_the_real_rule_lacks_is_found(upstream: dict[str, Any]) -> None:
    load = 'load("@rules_python//python:py_test.bzl", "py_test")\n'
    assert not list(
        _bad_attributes(_source(load + 'py_test(name = "a", srcs = [], env = {})'), upstream)
    )
    bad = list(_bad_attributes(_source(load + 'py_test(name = "a", sources = [])'), upstream))
    assert bad == ["BUILD.bazel:2: py_test has no attribute sources"]


# --- labels of packages and repositories


def _unknown_repositories(source: syntax.Source, known: set[str]) -> Iterator[str]:
    for text in syntax.strings(source.tree.statements):
        if (match := re.match(r"@([A-Za-z0-9_]+)//", text)) and match[1] not in known:
            yield f"{source.path}: {text}: MODULE.bazel knows no such repository"


def test_repositories_that_shared_files_name_are_known_to_newer_engines(
    shared: dict[str, syntax.Source], module: module_file.ModuleFile
) -> None:
    known = module.known_repositories()
    assert {"pypi", "pypi_dev", "rules_python", "vader_sentiment_source"} <= known
    found = [bad for source in shared.values() for bad in _unknown_repositories(source, known)]
    assert found == []


def test_a_repository_that_newer_engines_lack_is_found(module: module_file.ModuleFile) -> None:
    build = _source('filegroup(name = "a", srcs = ["@pypi//torch", "@python_interpreter//:x"])')
    (found,) = _unknown_repositories(build, module.known_repositories())
    assert "@python_interpreter//:x" in found


def _bad_hub_labels(source: syntax.Source) -> Iterator[str]:
    """rules_python spells a distribution in lower case with underscores, and offers few targets."""
    for text in syntax.strings(source.tree.statements):
        if match := _HUB_LABEL.fullmatch(text):
            if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", match[2]):
                yield f"{source.path}: {text}: a distribution is spelled like `scikit_learn`"
            if match[3] not in _HUB_TARGETS and match[3] != match[2]:
                yield f"{source.path}: {text}: the hub has no such target"


def test_package_labels_are_spelled_as_the_real_hub_spells_them(
    shared: dict[str, syntax.Source],
) -> None:
    assert [bad for source in shared.values() for bad in _bad_hub_labels(source)] == []


@pytest.mark.parametrize("label", ["@pypi//scikit-learn", "@pypi//PyYAML", "@pypi_dev//ruff:bin"])
def test_a_package_label_spelled_otherwise_is_found(label: str) -> None:
    assert len(list(_bad_hub_labels(_source(f'filegroup(name = "a", srcs = ["{label}"])')))) == 1
