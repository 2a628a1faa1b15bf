"""Addresses and links of pods. Each pod has a network namespace, on a bridge in another one, as no user but root may
change the machine's own network; where the kernel allows no namespaces, all pods are on its loopback.
"""

import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Protocol

from retort.core.errors import RetortError
from retort.launch.cluster.node.network import agent

_PODS = IPv4Network("10.88.0.0/16")
_LOOPBACK = IPv4Network("127.88.0.0/16")
_NEEDED = ("bwrap", "ip", "nsenter", "unshare")
_MOST = 1 << 16


class NetworkError(RetortError):
    """A pod has no network."""


@dataclass(frozen=True)
class Attached:
    """A pod's place in the network.

    Attributes:
        name: of its link.
        address: of the pod.
        way_in: what a command begins with that runs in the pod's network.
    """

    name: str
    address: str
    way_in: Sequence[str] = ()


class Network(Protocol):
    """What a node needs of the network. Any thread may use it."""

    is_isolated: bool
    """Whether a pod has namespaces of its own: of processes, mounts, names and the network."""
    host: str
    """The node's address."""

    def attach(self) -> Attached:
        """Give a pod an address that no other has.

        Raises:
            NetworkError: that is not possible.
        """

    def detach(self, pod: Attached) -> None:
        """Take it back."""

    def set_link(self, pod: Attached, *, up: bool) -> None:
        """Cut a pod off, or let it back."""

    def connect(self, address: str, port: int, timeout_s: float) -> socket.socket:
        """A connection to a pod.

        Raises:
            OSError: there is none.
        """

    def listen(self, address: str, port: int) -> socket.socket:
        """A socket that listens in the pods' network.

        Raises:
            OSError: the port is taken.
        """

    def close(self) -> None:
        """End everything that it holds."""


class _Addresses:
    """Those of a network that are free, the lowest one first that was not given for the longest time."""

    def __init__(self, network: IPv4Network, first: int) -> None:
        self._network = network
        self._first = first
        self._taken: set[IPv4Address] = set()
        self._next = self._hosts()

    def take(self) -> IPv4Address:
        for _ in range(self._network.num_addresses):
            found = next(self._next, None)
            if found is None:
                self._next = self._hosts()
            elif found not in self._taken:
                self._taken.add(found)
                return found
        raise NetworkError(f"no address of {self._network} is free; delete pods")

    def give_back(self, address: str) -> None:
        self._taken.discard(IPv4Address(address))

    def _hosts(self) -> Iterator[IPv4Address]:
        last = self._network.num_addresses - 1
        return (self._network[number] for number in range(self._first, last))


class IsolatedNetwork:
    """Pods on a bridge.

    Raises:
        NetworkError: programs are missing, or the kernel allows this user no namespaces.
    """

    is_isolated = True
    host = str(_PODS[1])

    def __init__(self) -> None:
        missing = [name for name in _NEEDED if shutil.which(name) is None]
        if missing:
            raise NetworkError(f"not installed: {', '.join(missing)}")
        # By its path, as what is run by it has an environment of its own.
        self._enter = shutil.which("nsenter") or "nsenter"
        self._lock = threading.Lock()
        self._addresses = _Addresses(_PODS, 2)
        self._made = 0
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = ["unshare", "--user", "--map-root-user", "--net"]
        with theirs:
            self._agent = subprocess.Popen(
                [*command, sys.executable, "-I", "-S", agent.__file__],
                stdin=theirs.fileno(),
                # Ctrl-C is for whoever has started this.
                start_new_session=True,
                stderr=subprocess.PIPE,
            )
        try:
            self._ask("bridge", address=f"{self.host}/{_PODS.prefixlen}")
            self._ask("try_container")
        except NetworkError:
            self.close()
            raise

    def attach(self) -> Attached:
        with self._lock:
            self._made += 1
            name = f"pod{self._made}"
            address = str(self._addresses.take())
        place = f"{address}/{_PODS.prefixlen}"
        pid = self._ask("add", name=name, address=place, gateway=self.host)["pid"]
        way = (self._enter, f"--target={pid}", "--user", "--net", "--preserve-credentials")
        return Attached(name, address, way)

    def detach(self, pod: Attached) -> None:
        self._ask("remove", name=pod.name)
        with self._lock:
            self._addresses.give_back(pod.address)

    def set_link(self, pod: Attached, *, up: bool) -> None:
        self._ask("link", name=pod.name, state="up" if up else "down")

    def connect(self, address: str, port: int, timeout_s: float) -> socket.socket:
        made = self._new_socket()
        try:
            made.settimeout(timeout_s)
            made.connect((address, port))
        except BaseException:
            made.close()
            raise
        return made

    def listen(self, address: str, port: int) -> socket.socket:
        self._ask("address", address=f"{address}/32")
        made = self._new_socket()
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((address, port))
            made.listen()
        except BaseException:
            made.close()
            raise
        return made

    def close(self) -> None:
        self._socket.close()
        self._agent.communicate()

    def _new_socket(self) -> socket.socket:
        with self._lock:
            self._send("socket", {})
            content, descriptors, _, _ = socket.recv_fds(self._socket, _MOST, 1)
        self._read(content)
        return socket.socket(fileno=descriptors[0])

    def _ask(self, method: str, **arguments: str) -> dict[str, Any]:
        with self._lock:
            self._send(method, arguments)
            content = self._socket.recv(_MOST)
        return self._read(content)

    def _send(self, method: str, arguments: dict[str, str]) -> None:
        try:
            self._socket.send(json.dumps([method, arguments]).encode())
        except OSError as error:
            raise self._ended() from error

    def _read(self, content: bytes) -> dict[str, Any]:
        if not content:
            raise self._ended()
        answer: dict[str, Any] = json.loads(content)
        if "error" in answer:
            raise NetworkError(str(answer["error"]))
        return answer

    def _ended(self) -> NetworkError:
        _, said = self._agent.communicate()
        last = said.decode().strip().splitlines()[-1:] or [f"exit code {self._agent.returncode}"]
        return NetworkError(f"this user may not make namespaces: {last[0]}")


class LoopbackNetwork:
    """Pods with addresses of the machine's loopback, of which each may still listen on all."""

    is_isolated = False
    host = str(_LOOPBACK[1])

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._addresses = _Addresses(_LOOPBACK, 2)

    def attach(self) -> Attached:
        with self._lock:
            address = str(self._addresses.take())
        return Attached(address, address)

    def detach(self, pod: Attached) -> None:
        with self._lock:
            self._addresses.give_back(pod.address)

    def set_link(self, pod: Attached, *, up: bool) -> None:
        if not up:
            raise NetworkError("a process on loopback has no link that could be cut")

    def connect(self, address: str, port: int, timeout_s: float) -> socket.socket:
        return socket.create_connection((address, port), timeout_s)

    def listen(self, address: str, port: int) -> socket.socket:
        return socket.create_server((address, port))

    def close(self) -> None:
        """Nothing is held."""
