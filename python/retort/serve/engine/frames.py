"""What the server and the processes of its model say to each other: frames over a socket of this machine.

A frame is two numbers, int32, little-endian: the bytes of a JSON object and of what follows it; then these.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIZES = struct.Struct("<ii")


@dataclass(frozen=True)
class Frame:
    """One of them."""

    said: Mapping[str, Any]
    payload: bytes | bytearray = b""

    def bytes(self) -> bytes:
        """As it is sent."""
        said = json.dumps(self.said).encode()
        return _SIZES.pack(len(said), len(self.payload)) + said + self.payload


def of_batch(texts: Sequence[NDArray[np.int64]], threads: int) -> Frame:
    """The token numbers of texts, and with how many threads to compute, where that is not in the bits."""
    said = {"lengths": [len(text) for text in texts], "threads": threads}
    return Frame(said, np.concatenate(texts).tobytes())


def batch_of(frame: Frame) -> tuple[NDArray[np.int64], list[int]]:
    """The token numbers of all texts, one after another, and how many each has."""
    return np.frombuffer(frame.payload, np.int64), frame.said["lengths"]


def of_probabilities(probabilities: NDArray[np.float32]) -> Frame:
    """What a model says of texts, [texts, labels]."""
    return Frame({"shape": list(probabilities.shape)}, probabilities.tobytes())


def probabilities_of(frame: Frame) -> NDArray[np.float32]:
    """The same, read."""
    return np.frombuffer(frame.payload, np.float32).reshape(frame.said["shape"])


async def receive(reader: asyncio.StreamReader) -> Frame:
    """
    Raises:
        EOFError, OSError: whoever spoke is gone.
    """
    said, payload = _SIZES.unpack(await reader.readexactly(_SIZES.size))
    return Frame(json.loads(await reader.readexactly(said)), await reader.readexactly(payload))


def receive_now(connection: socket.socket) -> Frame:
    """The same, waiting for it.

    Raises:
        EOFError, OSError: whoever spoke is gone.
    """
    said, payload = _SIZES.unpack(_exactly(connection, _SIZES.size))
    return Frame(json.loads(_exactly(connection, said)), _exactly(connection, payload))


def _exactly(connection: socket.socket, count: int) -> bytearray:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            raise EOFError("the connection was closed")
        parts += part
    return parts  # arrays of it can be written, as PyTorch wants them
