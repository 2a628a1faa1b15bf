"""What every command shares: where it was typed, how it ends, and its last line."""

import argparse
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from retort.core.errors import RetortError, UserError, one_line
from retort.core.paths import resolved
from retort.core.seal import Sealed
from retort.core.signals import (
    SIGNALS,
    Terminated,
    deliver_again,
    imported,
    listen,
    number_of,
    words,
)


class Arguments(argparse.ArgumentParser):
    """Flags of a command, of which a wrong one is one line."""

    def error(self, message: str) -> NoReturn:
        """
        Raises:
            UserError: always.
        """
        raise UserError(f"{message}; --help tells what may be typed")


@dataclass(frozen=True)
class Invocation:
    """Where the user is, which only main modules may ask."""

    working_directory: Path
    workspace: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Invocation":
        """`bazel run` starts programs elsewhere and says in variables where the user is."""
        try:
            here = Path.cwd()
        except OSError as error:
            raise UserError(
                f"the directory that you are in is gone ({error.strerror}); go to another"
            ) from error
        return cls(
            working_directory=Path(environment.get("BUILD_WORKING_DIRECTORY", here)),
            workspace=Path(environment.get("BUILD_WORKSPACE_DIRECTORY", here)),
        )

    def resolve(self, path: str) -> Path:
        """A path as the user typed it, made absolute.

        Raises:
            UserError: no file can have it, or its name would not be one line of text.
        """
        return Path(os.path.abspath(resolved(path, self.working_directory)))


def run(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run a command with the arguments typed, and end the process with its exit code.

    The one place that turns errors into a line on standard error: 2 for the user's mistake,
    1 for a failure that we foresaw, 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP. Anything
    else is a bug of ours and ends in a traceback. A signal unwinds; a second one ends at once.
    """
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    logging.getLogger("retort").setLevel(logging.INFO)
    quietly = listen(unwinds=True)
    imported()
    sys.unraisablehook = deliver_again
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except RetortError as error:
        code = exit_code(error)
        print(f"error: {one_line(str(error))}", file=sys.stderr)
    except (KeyboardInterrupt, Terminated) as asked:
        listen(unwinds=False)
        code = exit_code(asked)
        if not quietly:
            print(words(number_of(asked)), file=sys.stderr)
    except BrokenPipeError:
        code = 1
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        # The command is over, also by SystemExit: a signal from here on, in these lines too, has nothing to unwind.
        with suppress(KeyboardInterrupt, Terminated):
            for number in SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:
                    signal.signal(number, signal.SIG_DFL)
    # The interpreter's last collection would search for a second what ends anyway.
    gc.freeze()
    sys.exit(code)


def exit_code(error: BaseException) -> int:
    """What a command ends with after an exception."""
    if isinstance(error, RetortError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt | Terminated):
        return 128 + number_of(error)
    return 1


def seal_line(sealed: Sealed) -> str:
    """The last line on standard output of every command that seals or verifies."""
    return f"seal {sealed.seal} {sealed.path}"


def positive(text: str) -> int:
    """A whole number from 1 on, as the type of an argument."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def port(text: str) -> int:
    """A TCP port, as the type of an argument; 0 is one that is free."""
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{number} is not a port: 0 to 65535")
    return number
