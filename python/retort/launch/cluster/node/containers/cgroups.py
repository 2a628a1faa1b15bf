"""Requests and limits of containers by control groups, where this user may make some.

Both kinds are known: one tree for all controllers (https://docs.kernel.org/admin-guide/cgroup-v2.html), and one for
each (https://docs.kernel.org/admin-guide/cgroup-v1/).
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from retort.launch.units import quantity

_MOUNTED = Path("/sys/fs/cgroup")
_CONTROLLERS = ("cpu", "memory")
_PERIOD_US = 100_000
_LEAST_QUOTA_US = 1_000
_SHARES = 1024
"""Of one core."""
Resources = Mapping[str, Mapping[str, str]]
"""`requests` and `limits` of a container: name of a resource to quantity."""


@dataclass(frozen=True)
class Group:
    """The control groups of a container.

    Attributes:
        folders: one for all controllers, or one for each.
        joined: the files into which a process writes its number to be in them.
    """

    folders: Sequence[Path]
    joined: Sequence[Path]

    def was_out_of_memory(self) -> bool:
        """Whether the kernel has killed one of its processes for the memory."""
        for folder in self.folders:
            for name in ("memory.events", "memory.oom_control"):
                with suppress(OSError, ValueError):
                    counts = dict(line.split() for line in (folder / name).read_text().splitlines())
                    if int(counts.get("oom_kill", 0)):
                        return True
        return False

    def remove(self) -> None:
        """Take them away. A group that has processes stays."""
        for folder in self.folders:
            with suppress(OSError):
                folder.rmdir()


class ControlGroups:
    """Those of a node, below one of its own, so that its containers are found in one place.

    Attributes:
        refusal: why there are none; empty if there are.
    """

    def __init__(self, name: str) -> None:
        self._unified = (_MOUNTED / "cgroup.controllers").exists()
        self._roots: list[Path] = []
        self.refusal = ""
        try:
            if self._unified:
                root = _MOUNTED / name
                root.mkdir(exist_ok=True)
                self._roots.append(root)
                wanted = " ".join(f"+{one}" for one in _CONTROLLERS)
                (root / "cgroup.subtree_control").write_text(wanted)
            else:
                for controller in _CONTROLLERS:
                    root = _MOUNTED / controller / name
                    root.mkdir(exist_ok=True)
                    self._roots.append(root)
        except OSError as error:
            self.close()
            self.refusal = error.strerror or str(error)

    def make(self, name: str, resources: Resources) -> Group | None:
        """Groups with what a container requests and may use; None where there are none.

        A limit that the kernel refuses is none.
        """
        if self.refusal:
            return None
        folders = [root / name for root in self._roots]
        try:
            for folder in folders:
                folder.mkdir(exist_ok=True)
        except OSError:
            return None
        for folder in folders:
            for file, value in self._settings(resources).items():
                if (folder / file).exists():
                    with suppress(OSError):
                        (folder / file).write_text(value)
        return Group(folders, [folder / "cgroup.procs" for folder in folders])

    def close(self) -> None:
        """Take away what is empty."""
        for root in self._roots:
            with suppress(OSError):
                for folder in os.scandir(root):
                    if folder.is_dir():
                        with suppress(OSError):
                            Path(folder.path).rmdir()
                root.rmdir()
        self._roots = []

    def _settings(self, resources: Resources) -> dict[str, str]:
        requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
        found: dict[str, str] = {}
        shares = max(2, int(_number(requests, "cpu") * _SHARES))
        if self._unified:
            # The kernel's own way from shares, 2 to 262144, to weights, 1 to 10000.
            found["cpu.weight"] = str(1 + (min(shares, 262144) - 2) * 9999 // 262142)
        else:
            found["cpu.shares"] = str(shares)
        if cores := _number(limits, "cpu"):
            quota = max(_LEAST_QUOTA_US, int(cores * _PERIOD_US))
            if self._unified:
                found["cpu.max"] = f"{quota} {_PERIOD_US}"
            else:
                found["cpu.cfs_quota_us"] = str(quota)
        if memory := int(_number(limits, "memory")):
            found["memory.max" if self._unified else "memory.limit_in_bytes"] = str(memory)
        return found


def _number(amounts: Mapping[str, str], name: str) -> Decimal:
    return quantity(str(amounts[name])) if name in amounts else Decimal(0)
