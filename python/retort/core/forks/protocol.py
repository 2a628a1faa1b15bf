"""What a fork server and those who ask it say to each other."""

import json
import socket
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass

_NUMBER = struct.Struct("<q")
_FILES = 3


@dataclass(frozen=True)
class Request:
    """What a process is to be.

    Attributes:
        command: a module and its arguments.
        quietly: asked to stop, it leaves the words to whoever asked for it.
    """

    command: list[str]
    environment: dict[str, str]
    directory: str
    umask: int
    quietly: bool


def send_request(connection: socket.socket, request: Request, files: Sequence[int]) -> None:
    """Ask for a process with these descriptors as its standard input, output and error."""
    content = json.dumps(asdict(request)).encode()
    socket.send_fds(connection, [_NUMBER.pack(len(content))], files)
    connection.sendall(content)


def receive_request(connection: socket.socket) -> tuple[Request, list[int]]:
    """
    Returns:
        What is asked for, and descriptors that are the caller's.
    Raises:
        EOFError: the other side has ended before.
    """
    content, files, _, _ = socket.recv_fds(connection, _NUMBER.size, _FILES)
    if not content:
        raise EOFError
    return Request(**json.loads(_receive(connection, _NUMBER.unpack(content)[0]))), files


def send_number(connection: socket.socket, number: int) -> None:
    """Tell a process's number, or its exit code."""
    connection.sendall(_NUMBER.pack(number))


def receive_number(connection: socket.socket) -> int:
    """
    Raises:
        EOFError: the other side has ended before.
    """
    number: int = _NUMBER.unpack(_receive(connection, _NUMBER.size))[0]
    return number


def _receive(connection: socket.socket, size: int) -> bytes:
    """
    Raises:
        EOFError: the other side has ended before.
    """
    content = b""
    while len(content) < size:
        part = connection.recv(size - len(content))
        if not part:
            raise EOFError
        content += part
    return content
