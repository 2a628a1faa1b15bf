"""The machine that pods are on, as far as the network goes: a process in a network namespace with a bridge.

`retort.launch.cluster.node.network.network` starts it, as root of a user namespace, and asks it for what can be
done only from inside. It ends, and all with it, when nobody can ask it any more.
"""

import json
import socket
import subprocess
import sys
from typing import Any

BRIDGE = "pods"
_PAUSE = ["unshare", "--net", "sh", "-c", "echo && exec cat"]
_TRIAL = ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts")
_ROOT = ("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc")
_MOST = 1 << 16


class Agent:
    """What it was asked for: namespaces of pods, each held by a process that does nothing."""

    def __init__(self) -> None:
        self._pauses: dict[str, subprocess.Popen[bytes]] = {}

    def bridge(self, address: str) -> None:
        """Make the bridge that all pods are on, with an address such as 10.88.0.1/16."""
        _ip(
            "link set lo up",
            f"link add {BRIDGE} type bridge",
            f"addr add {address} dev {BRIDGE}",
            f"link set {BRIDGE} up",
        )

    def try_container(self) -> None:
        """See whether a container can be started here: not all that allow a network allow mounts."""
        done = subprocess.run(
            ["bwrap", *_TRIAL, *_ROOT, "true"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise OSError(done.stderr.strip() or f"bwrap: exit code {done.returncode}")

    def address(self, address: str) -> None:
        """Take an address, such as 10.96.0.7/32, to listen on for a service."""
        _ip(f"addr replace {address} dev lo")

    def add(self, name: str, address: str, gateway: str) -> dict[str, int]:
        """Make a namespace with a link of that name to the bridge.

        Returns:
            The process that holds it.
        """
        # It stays for as long as its standard input is open, which this process alone has the end of.
        pause = subprocess.Popen(_PAUSE, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert pause.stdout is not None
        if pause.stdout.readline() != b"\n":
            raise OSError("no network namespace could be made")
        self._pauses[name] = pause
        _ip(
            f"link add {name} type veth peer name eth0 netns {pause.pid}",
            f"link set {name} master {BRIDGE}",
            f"link set {name} up",
        )
        _ip(
            "link set lo up",
            f"addr add {address} dev eth0",
            "link set eth0 up",
            f"route add default via {gateway}",
            within=pause.pid,
        )
        return {"pid": pause.pid}

    def remove(self, name: str) -> None:
        """Let a namespace go, and its link with it."""
        pause = self._pauses.pop(name, None)
        if pause is None:
            return
        assert pause.stdin is not None
        pause.stdin.close()
        pause.wait()

    def link(self, name: str, state: str) -> None:
        """Have the link of a pod `up` or `down`."""
        _ip(f"link set {name} {state}")


def _ip(*lines: str, within: int = 0) -> None:
    way = ["nsenter", f"--target={within}", "--net"] if within else []
    done = subprocess.run(
        [*way, "ip", "-batch", "-"],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise OSError(done.stderr.strip().splitlines()[0] if done.stderr else f"ip: {lines}")


def main() -> None:
    """Answer requests on the socket that is standard input: a method of `Agent` and its arguments, as JSON.

    `socket` is answered with a socket of this network, which whoever asks may bind or connect.
    """
    asked = socket.socket(fileno=0)
    agent = Agent()
    while request := asked.recv(_MOST):
        method, arguments = json.loads(request)
        answer: Any = {}
        sent: list[int] = []
        try:
            if method == "socket":
                made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                sent = [made.detach()]
            else:
                answer = getattr(agent, method)(**arguments) or {}
        except OSError as error:
            answer = {"error": str(error)}
        socket.send_fds(asked, [json.dumps(answer).encode()], sent)
        for descriptor in sent:
            socket.close(descriptor)


if __name__ == "__main__":
    main()
    sys.exit(0)
