"""The one error of the image tools, and how a command shows it."""

import sys
from collections.abc import Callable


class ImageError(Exception):
    """What is wrong with an image, a layer, a lock or a registry, and what to do about it, in one line."""


def run(main: Callable[[], None]) -> None:
    """Runs a command: an ImageError is one line on standard error and exit code 2."""
    try:
        main()
    except ImageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
