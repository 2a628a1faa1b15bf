"""Finds what BUILD and .bzl files must not hold if Bazel 4.2.3 and Bazel 8 and 9 are to load them.

Each finding is `file:line: what; what to do instead`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from starlark.syntax import FileLocations, Scope, TokenKind, ast, resolve

from tests.tools.upstream.syntax import (
    BUILD_NAMES,
    Source,
    calls,
    dotted,
    keyword,
    strings,
    text_of,
    walk,
)

# Builtins of both engines. A name that is neither here nor loaded nor defined is a finding.
_EVERYWHERE_NAMES = """
None True False all any bool dict dir enumerate fail getattr hasattr hash int len list max min
print range repr reversed select sorted str tuple type zip
"""
_EVERYWHERE = frozenset(_EVERYWHERE_NAMES.split())
_IN_BUILD_NAMES = """
alias config_setting constraint_setting constraint_value exports_files filegroup genquery
genrule glob label_flag label_setting licenses package package_group package_name platform
test_suite toolchain toolchain_type
"""
_IN_BUILD = frozenset(_IN_BUILD_NAMES.split())
_IN_BZL_NAMES = """
AnalysisTestResultInfo DefaultInfo Label OutputGroupInfo analysis_test_transition aspect attr
config config_common configuration_field coverage_common depset json native platform_common
provider repository_rule rule struct testing transition
"""
_IN_BZL = frozenset(_IN_BZL_NAMES.split())

_GONE_NATIVE = re.compile(r"native\.(cc|java|objc|proto|py|sh)_\w+")
_ABSENT = {
    "native.package_relative_label": "pass whole labels",
    "native.repo_name": "write the label out",
    "native.module_name": "there are no modules",
    "native.module_version": "there are no modules",
    "config_common.toolchain_type": "give the label alone",
    "rctx.getenv": "use rctx.os.environ",
    "rctx.watch": "read the file instead",
}
_ABSENT_RULE_ARGUMENTS = frozenset({"initializer", "exec_groups", "parent", "subrules"})


def findings(source: Source) -> list[str]:
    """Everything in one file that one of the engines would refuse or take otherwise."""
    rules = (_unknown_names, _names, _calls, _operators, _strings)
    return sorted(finding for rule in rules for finding in rule(source))


def _unknown_names(source: Source) -> Iterator[str]:
    known = _EVERYWHERE | (_IN_BUILD if _is_build(source) else _IN_BZL)
    resolved = resolve(source.tree, FileLocations(source.path, source.text), known)
    # The resolver takes a name that it does not know for a global one.
    names = (node for node in walk(resolved.statements) if isinstance(node, ast.Identifier))
    for node in names:
        is_global = node.binding is not None and node.binding.scope is Scope.GLOBAL
        if is_global and node.name not in resolved.globals:
            where = source.where(node)
            yield f"{where}: {node.name} is not loaded, and not a builtin of both engines"


def _names(source: Source) -> Iterator[str]:
    for node in walk(source.tree.statements):
        name = dotted(node) if isinstance(node, ast.DotExpression) else ""
        if _GONE_NATIVE.fullmatch(name):
            yield f"{source.where(node)}: {name} is gone in Bazel 9; load the rule"
        elif name in _ABSENT:
            yield f"{source.where(node)}: {name} is not in Bazel 4.2.3; {_ABSENT[name]}"


def _calls(source: Source) -> Iterator[str]:
    for call in calls(source):
        where, name = source.where(call), dotted(call.fn)
        if text_of(keyword(call, "cfg")) == "host":
            yield f'{where}: cfg = "host" is gone in Bazel 8; use "exec"'
        if name == "rule":
            for argument in sorted(_ABSENT_RULE_ARGUMENTS):
                if keyword(call, argument) is not None:
                    yield f"{where}: rule({argument} = …) is not in Bazel 4.2.3"
        if name == "package_group" and "public" in strings(keyword(call, "packages")):
            yield f'{where}: package_group("public") is not in Bazel 4.2.3; use //visibility:public'
        if name == "select":
            for key in _select_keys(call):
                if key.startswith("@platforms//"):
                    yield f"{where}: select on {key} fails in Bazel 4.2.3; use a config_setting"


def _operators(source: Source) -> Iterator[str]:
    for node in walk(source.tree.statements):
        if isinstance(node, ast.LambdaExpression):
            yield f"{source.where(node)}: lambda is not in Bazel 4.2.3; use def"
        is_pipe = isinstance(node, ast.BinaryOperatorExpression) and node.op is TokenKind.PIPE
        is_update = isinstance(node, ast.AssignmentStatement) and node.op is TokenKind.PIPE
        if isinstance(node, ast.Node) and (is_pipe or is_update):
            yield f"{source.where(node)}: `|` on dicts is not in Bazel 4.2.3; use dict(a, **b)"


def _strings(source: Source) -> Iterator[str]:
    for node in walk(source.tree.statements):
        if isinstance(node, ast.StringLiteral) and "$(rlocationpath" in node.value:
            yield f"{source.where(node)}: $(rlocationpath) is not in Bazel 4.2.3; use $(rootpath)"


def _select_keys(call: ast.CallExpression) -> Iterator[str]:
    for argument in call.args:
        if isinstance(argument, ast.PositionalArgument) and isinstance(
            argument.value, ast.DictExpression
        ):
            for entry in argument.value.entries:
                if isinstance(entry.key, ast.StringLiteral):
                    yield entry.key.value


def _is_build(source: Source) -> bool:
    return source.path.rpartition("/")[2] in BUILD_NAMES
