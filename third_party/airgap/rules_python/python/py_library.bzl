"""Stand-in for @rules_python//python:py_library.bzl."""

load("//python/private:library.bzl", _py_library = "py_library")

py_library = _py_library
