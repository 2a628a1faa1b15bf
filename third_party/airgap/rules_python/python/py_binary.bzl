"""Stand-in for @rules_python//python:py_binary.bzl."""

load("//python/private:executable.bzl", _py_binary = "py_binary")

py_binary = _py_binary
