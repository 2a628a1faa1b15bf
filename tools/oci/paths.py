"""Paths of a command line."""

import os
import pathlib

_BUILT = "built:"


def given(text: str) -> pathlib.Path:
    """A path: relative to where the user stands, under `bazel run`, too.

    `bazel run` starts a program among its runfiles. What a BUILD file passes from there begins with `built:`.
    """
    if text.startswith(_BUILT):
        return pathlib.Path(text.removeprefix(_BUILT)).resolve()
    return pathlib.Path(os.environ.get("BUILD_WORKING_DIRECTORY", "."), text)
