"""Programs and tests in Python: `py_binary`, `py_test` and `pytest_test`, for every BUILD file.

Both engines start a program in the virtual environment of its declared dependencies. What the user's shell says to
Python (PYTHONPATH, PYTHONSTARTUP, the locale) must not reach it: the interpreter is started with the flags below, and
`:startup` sees to its children.
"""

load("@rules_python//python:py_binary.bzl", _py_binary = "py_binary")
load("@rules_python//python:py_test.bzl", _py_test = "py_test")

# Isolated, without byte code in the runfiles, text in UTF-8 whatever the locale.
_INTERPRETER_ARGS = [
    "-I",
    "-B",
    "-Xutf8",
]

_STARTUP = ["//tools/python:startup"]

def py_binary(name, deps = [], **kwargs):
    """A program.

    Args:
        name: the target.
        deps: what it imports.
        **kwargs: as for py_binary of @rules_python.
    """
    _py_binary(
        name = name,
        deps = deps + _STARTUP,
        interpreter_args = _INTERPRETER_ARGS,
        **kwargs
    )

def py_test(name, deps = [], **kwargs):
    """A program that is a test; what is to be collected by pytest is a `pytest_test`.

    Args:
        name: the target.
        deps: what it imports.
        **kwargs: as for py_test of @rules_python.
    """
    _py_test(
        name = name,
        deps = deps + _STARTUP,
        interpreter_args = _INTERPRETER_ARGS,
        **kwargs
    )

def pytest_test(name, srcs, deps = [], reads_checkout = False, size = "small", tags = [], **kwargs):
    """A test target whose files pytest collects.

    Args:
        name: the target.
        srcs: test files; each is handed to pytest.
        deps: what the tests import, pytest apart.
        reads_checkout: whether a test reads files of the checkout that no target lists (every BUILD file, the
            workflows, the documents). It finds them by following the link of its own file, and always runs.
        size: as for py_test; what ends a test that hangs is --test_timeout in the rc files.
        tags: as for py_test.
        **kwargs: as for py_test.
    """
    py_test(
        name = name,
        srcs = srcs + ["//tools/python:pytest_main.py"],
        args = ["$(rootpath %s)" % src for src in srcs],
        main = "//tools/python:pytest_main.py",
        size = size,
        tags = tags + (["external"] if reads_checkout else []),
        deps = deps + ["@pypi_dev//pytest"],
        **kwargs
    )
