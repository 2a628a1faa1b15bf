"""Stand-in for @rules_python//python:py_info.bzl."""

load("//python/private:builtin_py_info.bzl", "BuiltinPyInfo")

PyInfo = BuiltinPyInfo
