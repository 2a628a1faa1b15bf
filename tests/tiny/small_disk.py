"""A disk that is full soon: a small one in memory, in a name space of its own."""

import shutil
import subprocess
from pathlib import Path

IN_A_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
"""Before a command that mounts one."""


def may_mount(place: Path) -> bool:
    """Whether a user of this machine may mount a file system for processes of his own."""
    if shutil.which("unshare") is None:
        return False
    command = [*IN_A_NAMESPACE, "mount", "-t", "tmpfs", "none", str(place)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
