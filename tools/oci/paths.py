"""Paths that a user types."""

import os
import pathlib


def given(text: str) -> pathlib.Path:
    """A path of a command line: relative to where the user stands, under `bazel run`, too."""
    return pathlib.Path(os.environ.get("BUILD_WORKING_DIRECTORY", "."), text)
