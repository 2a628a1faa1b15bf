"""Stand-in for @rules_python//python:py_test.bzl."""

load("//python/private:executable.bzl", _py_test = "py_test")

py_test = _py_test
