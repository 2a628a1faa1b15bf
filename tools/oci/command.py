"""How the commands that people start begin and end."""

import os
from collections.abc import Callable

from tools.oci import errors


def run(main: Callable[[], None]) -> None:
    """Runs a command in the folder where its user stands; errors end it as in `errors.run`.

    `bazel run` starts a program elsewhere and names that folder in the environment.
    """
    os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
    errors.run(main)
