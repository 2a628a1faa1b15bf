"""The two habits of every package here: tests run by pytest, and the list of its files."""

load("@rules_python//python:py_test.bzl", "py_test")

def pytest_test(name, srcs, deps = [], **kwargs):
    """A test target whose files pytest collects.

    Args:
        name: the target.
        srcs: test files; each is handed to pytest.
        deps: what the tests import, pytest apart.
        **kwargs: as for py_test.
    """
    py_test(
        name = name,
        srcs = srcs + ["//tools/python:pytest_main.py"],
        args = ["$(rootpath %s)" % src for src in srcs],
        main = "//tools/python:pytest_main.py",
        deps = deps + ["@pypi_dev//pytest"],
        **kwargs
    )

def checkout_files():
    """Names the package's own files `checkout`, for the tests that read the tree itself."""
    native.filegroup(
        name = "checkout",
        srcs = native.glob(
            ["**"],
            exclude = ["**/__pycache__/**"],
            allow_empty = True,
        ),
        visibility = ["//:__pkg__"],
    )
