"""Errors that end a command in one clear line: what happened, to which file, what to do."""

from typing import ClassVar

_SHOWN = 500
"""Characters of a message that one path or value may take."""


def shown(value: object) -> str:
    """Text for a message: in one line, what does not print escaped, the middle of a long one cut."""
    text = str(value)
    if len(text) > _SHOWN:
        text = f"{text[: _SHOWN // 2]} … {text[-_SHOWN // 2 :]}"
    return one_line(text)


def one_line(text: str) -> str:
    """Text with everything escaped that does not print: line breaks, what steers a terminal."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


class RetortError(Exception):
    """A failure that we foresaw. `exit_code` is what the command ends with."""

    exit_code: ClassVar[int] = 1


class VerificationError(RetortError):
    """The work was done, and its result is not good enough or not the one that was promised."""


class UserError(RetortError):
    """A mistake that the user can mend."""

    exit_code = 2


class ConfigError(UserError):
    """A key or value of the configuration is wrong."""


class DataError(UserError):
    """Documents are missing, cannot be read, or cannot be learned from."""


class SealError(UserError):
    """A directory is not sealed, is truncated or altered, or is of another kind."""


class StorageError(UserError):
    """A file or directory could not be written: disk full, no permission, or in the way."""


class HubUnavailable(UserError):
    """The model and data set hub is needed and cannot be reached."""
