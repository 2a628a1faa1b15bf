"""What every command shares: where it was typed, how it ends, and its last line."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from retort.core.errors import RetortError
from retort.core.seal import Sealed

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM


class Terminated(BaseException):
    """SIGTERM has come: unwind, clean up and go."""


@dataclass(frozen=True)
class Invocation:
    """Where the user is, which only main modules may ask."""

    working_directory: Path
    workspace: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Invocation":
        """`bazel run` starts programs elsewhere and says in variables where the user is."""
        here = Path.cwd()
        return cls(
            working_directory=Path(environment.get("BUILD_WORKING_DIRECTORY", here)),
            workspace=Path(environment.get("BUILD_WORKSPACE_DIRECTORY", here)),
        )

    def resolve(self, path: str) -> Path:
        """A path as the user typed it, made absolute."""
        return Path(os.path.abspath(self.working_directory / Path(path).expanduser()))


def run(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run a command with the arguments typed, and end the process with its exit code.

    The one place that turns errors into a line on standard error: 2 for the user's mistake,
    1 for a failure that we foresaw, 130 after Ctrl-C, 143 after SIGTERM. Anything else is a bug
    of ours and ends in a traceback.
    """
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    logging.getLogger("retort").setLevel(logging.INFO)
    signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except RetortError as error:
        code = exit_code(error)
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt as error:
        code = exit_code(error)
        print("interrupted: nothing half-written is left", file=sys.stderr)
    except Terminated as error:
        code = exit_code(error)
        print("terminated: nothing half-written is left", file=sys.stderr)
    except BrokenPipeError:
        code = 1
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        # The command is over, also by SystemExit: a signal from here on has nothing to unwind.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.exit(code)


def exit_code(error: BaseException) -> int:
    """What a command ends with after an exception."""
    if isinstance(error, RetortError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return TERMINATED if isinstance(error, Terminated) else 1


def seal_line(sealed: Sealed) -> str:
    """The last line on standard output of every command that seals or verifies."""
    return f"seal {sealed.seal} {sealed.path}"


def positive(text: str) -> int:
    """A whole number from 1 on, as the type of an argument."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def _on_sigterm(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated
