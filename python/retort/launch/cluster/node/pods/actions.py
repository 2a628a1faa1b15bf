"""What is asked of a running container from outside: by its probes, and before its end
(https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/)."""

import http.client
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Sequence

from retort.launch.cluster.kinds.errors import JSONObject

Connect = Callable[[int, float], socket.socket]
"""A connection to a port of the pod, within a time in seconds."""
_MOST = 256
"""Characters of what a failed action says."""


class Actions:
    """What can be asked of a run of a container.

    Args:
        container: what the pod says of it.
        connect: reaches its ports.
        way_in: what a command begins with that runs inside of it; None while nothing runs there.
    """

    def __init__(
        self,
        container: JSONObject,
        connect: Connect,
        way_in: Callable[[], Sequence[str] | None],
    ) -> None:
        self.container = container
        self._connect = connect
        self._way_in = way_in

    @property
    def are_possible(self) -> bool:
        """Whether its program runs."""
        return self._way_in() is not None

    def failure(self, action: JSONObject, timeout_s: float) -> str:
        """Do something, and tell why it fails; empty if it does not.

        Args:
            action: with one of `httpGet`, `tcpSocket`, `exec` and `sleep`.
        """
        try:
            if "httpGet" in action:
                return self._get(action["httpGet"], timeout_s)
            if "tcpSocket" in action:
                self._connect(self._port(action["tcpSocket"]["port"]), timeout_s).close()
                return ""
            if "exec" in action:
                return self._execute(action["exec"]["command"], timeout_s)
            if "sleep" in action:
                time.sleep(min(timeout_s, float(action["sleep"]["seconds"])))
                return ""
        except (OSError, http.client.HTTPException, subprocess.SubprocessError) as error:
            return str(error)[:_MOST] or type(error).__name__
        return "a local cluster knows httpGet, tcpSocket, exec and sleep alone"

    def _get(self, asked: JSONObject, timeout: float) -> str:
        port = self._port(asked["port"])
        connected = self._connect(port, timeout)
        with connected:
            connected.settimeout(timeout)
            stream: socket.socket = connected
            if asked.get("scheme") == "HTTPS":
                # A probe does not ask who answers.
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                stream = context.wrap_socket(connected)
            connection = http.client.HTTPConnection("localhost", port, timeout=timeout)
            connection.sock = stream
            headers = {"Host": f"localhost:{port}", "User-Agent": "kube-probe"}
            headers |= {one["name"]: one["value"] for one in asked.get("httpHeaders") or ()}
            connection.request("GET", asked.get("path") or "/", headers=headers)
            answer = connection.getresponse()
            answer.read(_MOST)
        if 200 <= answer.status < 400:
            return ""
        return f"HTTP probe failed with statuscode: {answer.status}"

    def _port(self, port: int | str) -> int:
        if isinstance(port, int):
            return port
        for one in self.container.get("ports") or ():
            if one.get("name") == port:
                return int(one["containerPort"])
        raise OSError(f"couldn't find port: {port}")

    def _execute(self, command: Sequence[str], timeout: float) -> str:
        way_in = self._way_in()
        if way_in is None:
            raise OSError("the container does not run")
        done = subprocess.run(
            [*way_in, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        said = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
        return (said or f"exit code {done.returncode}")[:_MOST] if done.returncode else ""
