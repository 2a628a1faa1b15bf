"""The stand-ins offer what the real modules offer, and MODULE.bazel fits these modules."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlark import EvalError, StarlarkSyntaxException
from starlark.syntax import ast

from tests.tools.upstream import checkout, module_file, syntax
from tests.tools.upstream.evaluate import Recorded, World
from third_party.requirements.pip import read_indexes
from tools.ci import hermetic
from tools.oci.layers import python_files
from tools.python.wheel_programs import wheel_program

_STAND_INS = ("rules_cc", "rules_python", "rules_shell")


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


def _source(text: str, name: str = "BUILD.bazel") -> syntax.Source:
    return syntax.parse(text, name)


# --- the stand-ins


def _stand_in_offers(root: Path, module: str) -> Iterator[tuple[str, str, str]]:
    """What a stand-in offers, each as (kind, label of its file or package, name)."""
    folder = root / "third_party/airgap" / module
    for path in sorted(folder.rglob("*")):
        package = path.parent.relative_to(folder)
        if "private" in package.parts or not path.is_file():
            continue
        label = "//" if package == Path() else f"//{package.as_posix()}"
        if path.suffix == ".bzl":
            for name in syntax.exports(syntax.read(path)):
                yield "exports", f"{label}:{path.name}", name
        elif path.name in syntax.BUILD_NAMES:
            for name in syntax.targets(syntax.read(path)):
                yield "targets", label, name


def _not_upstream(root: Path, module: str, upstream: dict[str, Any]) -> list[tuple[str, str, str]]:
    real = upstream[module]
    offers = _stand_in_offers(root, module)
    return [offer for offer in offers if offer[2] not in real[offer[0]].get(offer[1], [])]


@pytest.mark.parametrize("module", _STAND_INS)
def test_a_stand_in_offers_only_what_the_real_module_offers(
    root: Path, upstream: dict[str, Any], module: str
) -> None:
    assert list(_stand_in_offers(root, module)), f"the stand-in {module} offers nothing"
    assert _not_upstream(root, module, upstream) == []


def test_a_stand_in_that_offers_more_is_found(tmp_path: Path, upstream: dict[str, Any]) -> None:
    folder = tmp_path / "third_party/airgap/rules_python/python"
    folder.mkdir(parents=True)
    (folder / "py_test.bzl").write_text(
        "def py_test(name):\n    pass\n\ndef py_venv(name):\n    pass\n"
    )
    (folder / "BUILD.bazel").write_text(
        'filegroup(name = "toolchain_type")\nfilegroup(name = "mine")\n'
    )
    assert set(_not_upstream(tmp_path, "rules_python", upstream)) == {
        ("exports", "//python:py_test.bzl", "py_venv"),
        ("targets", "//python", "mine"),
    }


@pytest.mark.parametrize("rule", ["py_binary", "py_library", "py_test"])
def test_a_stand_in_rule_has_only_attributes_of_the_real_rule(
    root: Path, upstream: dict[str, Any], rule: str
) -> None:
    label = f"//python:{rule}.bzl"
    world = World({"rules_python": root / "third_party/airgap/rules_python"})
    stand_in = world.evaluate("rules_python", label).globals[rule]
    assert isinstance(stand_in, Recorded)
    ours = set(stand_in.keys_of("attrs"))
    assert {"deps", "srcs"} <= ours
    assert ours <= set(upstream["rules_python"]["attributes"][label][rule])


# --- MODULE.bazel and .bazelrc, which only newer engines read


def test_versions_are_those_whose_sources_were_read(
    upstream: dict[str, Any], module: module_file.ModuleFile
) -> None:
    assert module.deps
    assert {name: upstream[name]["version"] for name in module.deps} == module.deps


def _bad_tags(module: module_file.ModuleFile, upstream: dict[str, Any]) -> Iterator[str]:
    for tag in module.tags:
        repository, _, rest = tag.file.partition("//")
        extensions = upstream[repository.lstrip("@")]["tag_classes"].get(f"//{rest}", {})
        attributes = extensions.get(tag.extension, {}).get(tag.name)
        if attributes is None:
            yield f"{tag.file} has no {tag.extension}.{tag.name}"
        else:
            for name in sorted(tag.arguments.keys() - set(attributes)):
                yield f"{tag.extension}.{tag.name} has no attribute {name}"


def test_extensions_are_given_attributes_that_they_have(
    upstream: dict[str, Any], module: module_file.ModuleFile
) -> None:
    assert module.tagged("pip", "parse")
    assert list(_bad_tags(module, upstream)) == []


def test_an_attribute_that_an_extension_lacks_is_found(upstream: dict[str, Any]) -> None:
    use = 'pip = use_extension("@rules_python//python/extensions:pip.bzl", "pip")\n'
    text = use + 'pip.parse(hub_nam = "a")\npip.install(name = "b")\n'
    found = list(_bad_tags(module_file.evaluate(_source(text, "MODULE.bazel")), upstream))
    assert found == [
        "pip.parse has no attribute hub_nam",
        "@rules_python//python/extensions:pip.bzl has no pip.install",
    ]


def test_a_function_that_module_files_lack_is_an_error() -> None:
    with pytest.raises((EvalError, StarlarkSyntaxException), match="py_library"):
        module_file.evaluate(_source('py_library(name = "a")', "MODULE.bazel"))


def test_hubs_and_locks_are_the_same_in_both_engines(
    root: Path, sources: dict[str, syntax.Source], module: module_file.ModuleFile
) -> None:
    """`@pypi` chooses between the same names, and each name is read from the same lock."""
    newer = {
        parse["requirements_lock"]: parse["hub_name"] for parse in module.tagged("pip", "parse")
    }
    airgap = {
        lock: values.split()[0] if values.split()[0] != "pypi" else values.split()[1]
        for lock, values in _workspace_locks(sources["WORKSPACE"]).items()
    }
    assert newer == airgap
    assert "pypi" not in newer.values(), "rules_python generates @pypi and reserves its name"
    (default,) = module.tagged("pip", "default")
    assert default["default_hub"] == "cpu"
    flag = root / "third_party/airgap/rules_python/python/config_settings/BUILD.bazel"
    assert _string_flag_values(syntax.read(flag), "venv") == {"cpu", "cuda"} <= set(newer.values())


def test_torchs_index_is_the_one_that_its_lock_names(
    root: Path, module: module_file.ModuleFile
) -> None:
    for parse in module.tagged("pip", "parse"):
        _, package, name = parse["requirements_lock"].replace(":", "/").partition("third_party/")
        indexes = read_indexes((root / package / name).read_text())
        asked = [
            f"--extra-index-url=${{{index.variable}:-{index.address}}}"
            for index in indexes.values()
        ]
        assert [one for one in parse["extra_pip_args"] if "index" in one] == asked
        assert parse["simpleapi_skip"] == list(indexes)
        assert {index.variable for index in indexes.values()} <= set(parse["envsubst"])


def _workspace_locks(workspace: syntax.Source) -> dict[str, str]:
    for call in syntax.calls(workspace):
        if syntax.dotted(call.fn) == "lock_repository":
            return syntax.string_dict(syntax.keyword(call, "locks"))
    raise AssertionError("WORKSPACE calls no lock_repository")


def test_source_archives_are_the_same_in_both_engines(
    sources: dict[str, syntax.Source], module: module_file.ModuleFile
) -> None:
    """Only who runs pip differs. What is fetched stands in the file that both name."""
    label = "//third_party/source_archives:source_archive.bzl"
    newer = {
        rule.arguments["name"]: dict(rule.arguments) for rule in module.rules if rule.file == label
    }
    airgap = {
        syntax.text_of(syntax.keyword(call, "name")): {
            key: syntax.text_of(syntax.keyword(call, key)) for key in syntax.keywords(call)
        }
        for call in syntax.calls(sources["WORKSPACE"])
        if syntax.dotted(call.fn) == "source_archive"
    }
    assert newer
    assert {found.pop("python") for found in newer.values()} == {"@python_3_11_host//:python"}
    assert {found.pop("python") for found in airgap.values()} == {
        "@python_interpreter//:bin/python3"
    }
    assert newer == airgap


def test_repositories_of_rules_are_given_attributes_that_the_rules_have(
    root: Path, module: module_file.ModuleFile
) -> None:
    world = World({"retort": root})
    for rule in module.rules:
        found = world.evaluate("retort", rule.file).globals[rule.name]
        assert isinstance(found, Recorded)
        assert set(found.keys_of("attrs")) | {"name"} == set(rule.arguments)


def test_the_interpreter_that_repository_rules_run_is_that_of_the_toolchain(
    module: module_file.ModuleFile,
) -> None:
    (toolchain,) = module.tagged("python", "toolchain")
    host = f"python_{toolchain['python_version'].replace('.', '_')}_host"
    assert module.repositories["python"] == [host]


def _string_flag_values(build: syntax.Source, name: str) -> set[str]:
    for call in syntax.calls(build):
        if syntax.text_of(syntax.keyword(call, "name")) == name:
            return set(syntax.strings(syntax.keyword(call, "values")))
    raise AssertionError(f"{build.path} has no {name}")


def test_wheels_whose_requirements_uv_leaves_out_are_patched_for_newer_engines(
    root: Path, module: module_file.ModuleFile
) -> None:
    """rules_python reads a wheel's own metadata: what uv overlooks must be gone from it."""
    settings = tomllib.loads((root / "third_party/requirements/uv.toml").read_text())
    overlooked = {
        f"{entry['name'].replace('-', '_')}-{entry['version']}-"
        for entry in settings["dependency-metadata"]
        if not entry["requires-dist"]
    }
    patched = module.tagged("pip", "override")
    assert {"-".join(entry["file"].split("-")[:2]) + "-" for entry in patched} == overlooked
    for entry in patched:
        for patch in entry["patches"]:
            text = (root / patch.removeprefix("//").replace(":", "/")).read_text()
            changed = re.findall(r"^[-+](?![-+]{2} )(.*)$", text, re.MULTILINE)
            assert changed
            assert all(line.startswith("Requires-Dist: ") for line in changed)


def _unknown_flags(rc: str, upstream: dict[str, Any]) -> list[str]:
    flags = re.findall(r"--(?:no)?@([a-z_]+)(//[^:=\s]+):([^=\s]+)", rc)
    return [
        f"@{repository}{package}:{name}"
        for repository, package, name in flags
        if name not in upstream[repository]["targets"].get(package, [])
    ]


def test_flags_of_bazelrc_that_are_labels_exist(root: Path, upstream: dict[str, Any]) -> None:
    rc = (root / ".bazelrc").read_text()
    assert "--@rules_python//python/config_settings:bootstrap_impl=script" in rc
    assert _unknown_flags(rc, upstream) == []
    control = "build --@rules_python//python/config_settings:bootstrap_imp=script"
    assert _unknown_flags(control, upstream) == [
        "@rules_python//python/config_settings:bootstrap_imp"
    ]


def _flags_by_command(rc: str) -> dict[str, list[str]]:
    """The flags of an rc file by the command whose lines they are on, `build:cuda` being `build`."""
    found: dict[str, list[str]] = {}
    for line in rc.splitlines():
        words = line.split("#")[0].split()
        if words and words[0] not in ("import", "try-import"):
            found.setdefault(words[0].split(":")[0], []).extend(words[1:])
    return found


@pytest.mark.parametrize("rc", [".bazelrc", "third_party/airgap/bazelrc"])
def test_build_and_test_have_the_same_flags(root: Path, rc: str) -> None:
    """A flag that `test` alone has makes `build` and `test` analyse in turn what they share."""
    flags = _flags_by_command((root / rc).read_text())
    assert flags.keys() <= {"build", "common", "startup"}
    assert {"--test_env=TZ=UTC", "--action_env=TZ=UTC"} <= set(flags["build"])


def test_a_flag_of_test_alone_is_found() -> None:
    rc = "build --a\ntest:ci --test_env=TZ=UTC # a reason\ntry-import user.bazelrc\n"
    assert _flags_by_command(rc) == {"build": ["--a"], "test": ["--test_env=TZ=UTC"]}


# --- what rules_python does that no signature says


@pytest.fixture(scope="module")
def behaviour(upstream: dict[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = upstream["rules_python"]["behaviour"]
    return facts


def test_programs_of_wheels_are_looked_for_where_the_real_module_lays_them(
    tmp_path: Path, behaviour: dict[str, Any]
) -> None:
    schemes = behaviour["wheel_schemes"]
    program = tmp_path / schemes["scripts"] / "ruff"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for scheme in ("purelib", "platlib"):
        assert wheel_program("ruff", search=[str(tmp_path / schemes[scheme])]) == str(program)


def _interpreter_arguments(macros: syntax.Source) -> list[list[str]]:
    """The interpreter's flags at each use of a rule that makes programs, as a file of macros has them."""
    lists = {
        syntax.dotted(node.lhs): syntax.strings(node.rhs)
        for node in macros.tree.statements
        if isinstance(node, ast.AssignmentStatement)
    }
    return [
        lists.get(syntax.dotted(given), syntax.strings(given)) if given else []
        for call in syntax.calls(macros)
        if syntax.dotted(call.fn) in ("_py_binary", "_py_test")
        for given in [syntax.keyword(call, "interpreter_args")]
    ]


def test_what_the_users_shell_says_to_python_reaches_no_program(
    root: Path, sources: dict[str, syntax.Source], behaviour: dict[str, Any]
) -> None:
    """The real bootstrap says nothing about it, so the macros must, and the bootstrap must hand that on."""
    assert (
        "--@rules_python//python/config_settings:bootstrap_impl=script"
        in (root / ".bazelrc").read_text()
    )
    command = behaviour["interpreter_command"]
    target = command.index("${INTERPRETER_ARGS_FROM_TARGET[@]}")
    assert command.index("$python_exe") < target < command.index("$stage2_bootstrap")
    ours = _interpreter_arguments(sources["tools/python/defs.bzl"])
    assert len(ours) == 2
    for flags in ours:
        assert "-I" in behaviour["interpreter_flags"] + flags


def test_a_program_without_flags_of_its_own_is_found() -> None:
    text = 'def py_binary(name):\n    _py_binary(name = name, interpreter_args = ["-B"])\n'
    text += "def py_test(name):\n    _py_test(name = name)\n"
    assert _interpreter_arguments(_source(text, "defs.bzl")) == [["-B"], []]


def test_the_proof_of_hermetic_builds_keeps_what_decides_where_things_are_fetched_from(
    root: Path, module: module_file.ModuleFile, behaviour: dict[str, Any]
) -> None:
    """Repositories and extensions are keyed on what they ask of the environment, Bazelisk's choice too."""
    # Where a rule keeps things, and of which Python of the machine's: both are neither fetching nor building here.
    own = {"PYENV_VERSION", "TEMP", "TMP", "XDG_CACHE_HOME"}
    bazelisk = set(checkout.inventory(root)["bazelisk"]["variables"])
    read = set(behaviour["reads_variables"]) - own | bazelisk - {"BAZELISK_HOME_"}
    for parse in module.tagged("pip", "parse"):
        read |= set(parse.get("envsubst", ()))
    assert {"BAZELISK_BASE_URL", "PATH", "USE_BAZEL_VERSION"} <= read
    told = dict.fromkeys(read, "told") | {"HOME": "/home/me"}
    assert hermetic.kept(told).items() >= told.items()


def test_no_package_is_made_of_a_directory_in_a_wheel(
    module: module_file.ModuleFile, behaviour: dict[str, Any]
) -> None:
    """rules_python makes an __init__.py in each unless told not to, which would be in the images, too."""
    unless = behaviour["inits_unless"]
    assert [parse[unless] for parse in module.tagged("pip", "parse")] == [True] * 3


def test_what_unpacking_adds_to_a_wheel_is_in_no_image(
    tmp_path: Path, behaviour: dict[str, Any]
) -> None:
    added = [f"some-1.0.dist-info/{name}" for name in behaviour["written_into_dist_info"]]
    assert added
    (tmp_path / "file").touch()
    names = ["some/module.py", *added]
    roots = python_files.import_roots(
        {f"x/site-packages/{name}": tmp_path / "file" for name in names}, ["x/site-packages"]
    )
    assert [entry.path for entry in python_files.sources(roots, "opt")] == ["opt/some/module.py"]


def test_a_lock_of_modules_is_not_demanded_before_there_is_one(root: Path) -> None:
    if not (root / "MODULE.bazel.lock").exists():
        assert "--lockfile_mode=error" not in (root / ".bazelrc").read_text()
