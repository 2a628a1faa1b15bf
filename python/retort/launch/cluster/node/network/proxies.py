"""Addresses of services: who connects to one is connected to a pod behind it, to each in turn
(https://kubernetes.io/docs/reference/networking/virtual-ips/)."""

import asyncio
import itertools
import logging
import socket
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from retort.core.errors import RetortError
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.node.network.names import is_behind, is_ready
from retort.launch.cluster.node.network.network import Network

_log = logging.getLogger("retort.launch")
_CONNECT_S = 5.0
_BLOCK = 1 << 16
Place = tuple[str, int]
"""Address and port."""


def routes(services: Iterable[JSONObject], pods: Sequence[JSONObject]) -> dict[Place, list[Place]]:
    """Where connections to the services of a namespace go: to the pods that are ready.

    A service without an address of its own has none; names lead to its pods.
    """
    found: dict[Place, list[Place]] = {}
    for service in services:
        spec = service["spec"]
        address, selector = spec.get("clusterIP"), spec.get("selector")
        if address in (None, "", "None") or not selector:
            continue
        ready = [
            pod
            for pod in pods
            if is_behind(selector, pod)
            and is_ready(pod)
            and "deletionTimestamp" not in pod["metadata"]
        ]
        for port in spec.get("ports") or ():
            if port.get("protocol", "TCP") == "TCP":
                targets = ((pod, _port(pod, port)) for pod in ready)
                found[address, int(port["port"])] = [
                    (str(pod["status"]["podIP"]), number) for pod, number in targets if number
                ]
    return found


def _port(pod: JSONObject, port: JSONObject) -> int:
    """Which port of a pod a port of a service means; 0 if the pod has none of that name."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    for container in pod["spec"]["containers"]:
        for one in container.get("ports") or ():
            if one.get("name") == target:
                return int(one["containerPort"])
    return 0


@dataclass
class _Proxy:
    """An address that is listened on."""

    server: asyncio.Server
    targets: Sequence[Place]
    turn: "itertools.count[int]"


class Proxies:
    """Listens on the addresses of services until it is closed, in a thread of its own."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._proxies: dict[Place, _Proxy] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def set(self, wanted: Mapping[Place, Sequence[Place]]) -> None:
        """Listen on these, and on nothing else."""
        asyncio.run_coroutine_threadsafe(self._set(dict(wanted)), self._loop).result()

    def close(self) -> None:
        """Listen no more. Connections end."""
        self.set({})
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _set(self, wanted: Mapping[Place, Sequence[Place]]) -> None:
        for place in self._proxies.keys() - wanted.keys():
            self._proxies.pop(place).server.close()
        for place, targets in wanted.items():
            if place in self._proxies:
                self._proxies[place].targets = targets
                continue
            try:
                listening = self._network.listen(*place)
            except (OSError, RetortError) as error:
                _log.warning("service %s:%d: %s", *place, error)
                continue
            proxy = _Proxy(await self._serve(listening, place), targets, itertools.count())
            self._proxies[place] = proxy

    async def _serve(self, listening: socket.socket, place: Place) -> asyncio.Server:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            proxy = self._proxies.get(place)
            targets = proxy.targets if proxy is not None else ()
            try:
                if proxy is None or not targets:
                    return
                target = targets[next(proxy.turn) % len(targets)]
                other = await asyncio.to_thread(self._network.connect, *target, _CONNECT_S)
                other.setblocking(False)
                there, back = await asyncio.open_connection(sock=other)
                await asyncio.gather(_pump(reader, back), _pump(there, writer))
            except (OSError, RetortError):
                return
            finally:
                writer.close()

        listening.setblocking(False)
        return await asyncio.start_server(connected, sock=listening)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hand on what comes until it ends, and then the end."""
    with suppress(OSError):
        while block := await reader.read(_BLOCK):
            writer.write(block)
            await writer.drain()
    with suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()
