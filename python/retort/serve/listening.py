"""Where a server listens, and how many connections it can have."""

import os
import resource
import socket

from retort.core.errors import UserError

BACKLOG = 1024
_SPARE_FILES = 18
"""For connections that were accepted and are not ours yet, and for what libraries open."""
_OF_A_MODEL = 4
"""Files beside those of its workers."""


def possible_connections(wanted: int, queue: int, workers: int = 2, models: int = 1) -> int:
    """How many of the wanted connections there can be, with the files that may be open.

    Args:
        workers: of each model; each has a connection.
        models: of several each may be there twice, while one replaces another.
    Raises:
        UserError: too few for the queue to fill up before the connections do.
    """
    least = queue + 2  # one is computed, and one more comes to be refused, or to ask for the health
    if wanted < least:
        raise UserError(f"--connections {wanted}: --queue {queue} needs {least} at least")
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    replaced = models if models > 1 else 0
    spare = _SPARE_FILES + (models + replaced) * (workers + _OF_A_MODEL)
    room = files - len(os.listdir("/proc/self/fd")) - spare
    if room < least:
        raise UserError(
            f"this process may have {files} files open (ulimit -n), which leaves {max(room, 0)} for "
            f"connections, and --queue {queue} needs {least}; raise the one or lower the other"
        )
    return min(wanted, room)


def bind(host: str, port: int) -> socket.socket:
    """A socket that holds the address but does not listen yet: nobody waits on a loading server.

    Raises:
        UserError: the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, UnicodeError) as error:
        raise _unusable(host, port, error) from error
    return bound


def listen(bound: socket.socket) -> None:
    """Begin to accept connections.

    Raises:
        UserError: another server has bound the same address meanwhile and listens.
    """
    host, port = bound.getsockname()[:2]
    try:
        bound.listen(BACKLOG)
    except OSError as error:
        raise _unusable(host, port, error) from error


def url(bound: socket.socket) -> str:
    """Where a program on this machine reaches the socket."""
    host, port = bound.getsockname()[:2]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _unusable(host: str, port: int, error: Exception) -> UserError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return UserError(f"cannot listen on {host}:{port}: {reason}; choose another --host or --port")
