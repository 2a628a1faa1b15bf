"""Tests here are run by pytest; this macro is how."""

load("@rules_python//python:py_test.bzl", "py_test")

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
