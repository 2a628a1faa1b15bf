"""One run of a container: a process in namespaces of its own, what it says, and how it ends."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from retort.launch.cluster.node.containers.cgroups import Group
from retort.launch.cluster.node.containers.images import Image
from retort.launch.cluster.node.containers.output import Output
from retort.launch.cluster.node.network.network import Attached
from retort.launch.cluster.node.pods.volumes import Mount

_SHM = 64 << 20
"""Bytes of /dev/shm where nobody asks for more, as container runtimes have it."""
_JOIN = 'for one in $1; do echo $$ > "$one"; done; shift; exec "$@"'
_BUBBLEWRAP = shutil.which("bwrap") or "bwrap"
"""By its path, as the environment is the container's."""
_LOOK_S = 0.005
_SETPRIV = shutil.which("setpriv")
_ENDS_WITH_US = (_SETPRIV, "--pdeathsig", "KILL") if _SETPRIV else ()
"""Of a plain process; bubblewrap does it for others."""
_HOSTS, _RESOLVER = "/etc/hosts", "/etc/resolv.conf"
_TOP = re.compile(r"/[^/]+")


@dataclass(frozen=True)
class Plan:
    """What a run needs.

    Attributes:
        image: what it is started from.
        command: what runs in it.
        environment: all of its variables.
        directory: where it starts; empty for where the image says.
        user, group: numbers, as seen inside.
        hostname: of the pod.
        hosts, resolver: the files that are /etc/hosts and /etc/resolv.conf.
        message: the file for a last word, and the path at which the container has it.
        mounts: what of the pod's volumes it has.
        is_tmp_writable: whether it has a /tmp of its own although it mounts none.
        network: where it is.
        group_of: its control groups, if there are any.
    """

    image: Image
    command: Sequence[str]
    environment: Mapping[str, str]
    directory: str
    user: int
    group: int
    hostname: str
    hosts: Path
    resolver: Path
    message: tuple[Path, str]
    mounts: Sequence[Mount]
    is_tmp_writable: bool
    network: Attached
    cgroup: Group | None = None


@dataclass
class Ended:
    """How a run has ended.

    Attributes:
        code: its exit code; 128 and the number of a signal that ended it.
        reason: Completed, Error, OOMKilled or StartError.
        why: for a run that could not be started.
    """

    code: int
    reason: str
    why: str = ""


class Container:
    """A run that has been started.

    A thread starts it, reads what it says, and waits for its end. The run ends with that thread: also when this
    process is killed, nothing is left.

    Args:
        output: what it says is written there.
        told: called when it has ended.
    """

    def __init__(self, plan: Plan, output: Output, told: Callable[[], None]) -> None:
        self._plan = plan
        self._output = output
        self._told = told
        self._pid = 0
        self._has_begun = False
        self._signals: list[int] = []
        self._lock = threading.Lock()
        self.ended: Ended | None = None
        """None while it runs."""
        self._thread = threading.Thread(target=self._live, name="container", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """Of its first process, on this machine; 0 before the program runs, and afterwards."""
        return self._pid if self._has_begun else 0

    def signal(self, number: int) -> None:
        """Send a signal to its first process, as soon as there is one."""
        with self._lock:
            self._signals.append(number)
            self._send()

    def join(self) -> None:
        """Wait until all that it has said is written."""
        self._thread.join()

    def _live(self) -> None:
        try:
            self.ended = self._run()
        except OSError as error:
            self.ended = Ended(128, "StartError", f"{error.filename or ''}: {error.strerror}")
        finally:
            self._output.close()
            self._told()

    def _run(self) -> Ended:
        plan = self._plan
        told, tells = os.pipe()
        is_isolated = bool(plan.network.way_in)
        try:
            command = isolated(plan, tells) if is_isolated else [*_ENDS_WITH_US, *plan.command]
            if plan.cgroup is not None:
                joined = " ".join(map(str, plan.cgroup.joined))
                command = ["/bin/sh", "-c", _JOIN, "sh", joined, *command]
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # Not among bubblewrap's arguments, which everybody on the machine can read.
                env=plan.environment,
                cwd=None if is_isolated else plan.directory or None,
                pass_fds=(tells,) if is_isolated else (),
                start_new_session=True,
            )
        except BaseException:
            os.close(told)
            raise
        finally:
            os.close(tells)
        with os.fdopen(told) as status:
            is_started = self._read(process, status if is_isolated else None)
        code = process.returncode
        if not is_started:
            return Ended(128, "StartError", self._output.last())
        code = 128 - code if code < 0 else code  # of a signal
        if code == 137 and plan.cgroup is not None and plan.cgroup.was_out_of_memory():
            return Ended(code, "OOMKilled")
        return Ended(code, "Error" if code else "Completed")

    def _read(self, process: "subprocess.Popen[bytes]", status: IO[str] | None) -> bool:
        """Read what it says until it has ended, and whether it was started at all.

        Args:
            status: what bubblewrap tells of it: its number, then its exit code, if it has run.
        """
        first = status.readline() if status is not None else ""
        with self._lock:
            self._pid = json.loads(first)["child-pid"] if first else process.pid
            self._send()
        if first:
            self._await_program(process)
        with self._lock:
            self._has_begun = True
            self._send()
        if status is None:
            threading.Thread(target=_end_group, args=(process,), daemon=True).start()
        with process:
            self._output.read(process)
        with self._lock:
            self._pid = 0
        return status is None or "exit-code" in status.read()

    def _await_program(self, process: "subprocess.Popen[bytes]") -> None:
        """Wait until the first process is no longer bubblewrap, which makes its root."""
        bubblewrap = os.path.realpath(_BUBBLEWRAP)
        while process.poll() is None:
            with suppress(OSError):
                if os.readlink(f"/proc/{self._pid}/exe") != bubblewrap:
                    return
            time.sleep(_LOOK_S)

    def _send(self) -> None:
        """Send what was asked for. Until the program runs, nothing but its end is heard."""
        while self._pid and self._signals:
            if not self._has_begun and signal.SIGKILL not in self._signals:
                return
            number = self._signals.pop(0)
            with suppress(ProcessLookupError):
                os.kill(self._pid, number)


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """End what a plain process leaves behind, as the end of a namespace would."""
    process.wait()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def isolated(plan: Plan, info: int) -> list[str]:
    """A run by bubblewrap, inside a pod's network: a read-only root, an own user, no capability.

    Args:
        info: the descriptor to which is written how it stands.
    """
    found = [*plan.network.way_in, _BUBBLEWRAP, "--unshare-user", "--unshare-pid", "--unshare-ipc"]
    found += ["--unshare-uts", "--unshare-cgroup-try", "--hostname", plan.hostname]
    found += ["--uid", str(plan.user), "--gid", str(plan.group), "--cap-drop", "ALL"]
    found += ["--die-with-parent", "--as-pid-1", "--json-status-fd", str(info)]
    found += _root(plan)
    found += ["--dev", "/dev", "--proc", "/proc"]
    found += ["--perms", "1777", "--size", str(_SHM), "--tmpfs", "/dev/shm"]
    if plan.is_tmp_writable:
        found += ["--perms", "1777", "--tmpfs", "/tmp"]
        if plan.image.root is None:
            for place in sorted(_in_tmp(Path(plan.image.entrypoint[0]))):
                found += ["--ro-bind", place, place]
    for mount in plan.mounts:
        volume = mount.volume
        if volume.path is None:
            found += ["--perms", "1777"]
            found += ["--size", str(volume.size)] if volume.size else []
            found += ["--tmpfs", mount.at]
        else:
            found += ["--ro-bind" if mount.readonly else "--bind", str(volume.path), mount.at]
    found += ["--ro-bind", str(plan.hosts), _HOSTS]
    if Path(plan.image.root or "/", _RESOLVER.lstrip("/")).is_file():
        found += ["--ro-bind", str(plan.resolver), _RESOLVER]
    found += ["--bind", str(plan.message[0]), plan.message[1]]
    found += ["--remount-ro", "/", "--chdir", plan.directory or plan.image.directory]
    return [*found, "--", *plan.command]


def _in_tmp(program: Path) -> set[str]:
    """What in /tmp a program of this machine, or this checkout, lies in: a pod's own /tmp would hide it."""
    places = (program.absolute(), program.resolve(), Path(__file__).resolve())
    return {str(Path(*one.parts[:3])) for one in places if one.parts[:2] == ("/", "tmp")}


def _root(plan: Plan) -> list[str]:
    """The root as memory, in which a mount finds a place, with what the image has at the top."""
    root = plan.image.root or Path("/")
    found = []
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        at = f"/{entry.name}"
        if at in ("/dev", "/proc"):
            continue
        if entry.is_symlink():
            found += ["--symlink", os.readlink(entry.path), at]
        else:
            found += ["--ro-bind", entry.path, at]
    if plan.image.root is not None:
        _make_places(plan.image.root, [mount.at for mount in plan.mounts])
        for name in (_HOSTS, _RESOLVER):
            file = plan.image.root / name.lstrip("/")
            if file.parent.is_dir() and not file.is_file():
                file.unlink(missing_ok=True)  # a link to what the image does not have
                file.touch()
    return found


def _make_places(root: Path, paths: Sequence[str]) -> None:
    """Make what an unpacked image lacks below its directories: others see it as empty."""
    for path in paths:
        place = root / path.lstrip("/")
        if not _TOP.fullmatch(path) and not place.exists():
            place.mkdir(parents=True)
