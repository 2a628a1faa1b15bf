"""Where a rehearsed job runs: on this machine, or in a root of Debian that no earlier job has changed."""

import contextlib
import os
import pathlib
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

# Files of a checkout in a container belong to the runner's user there, who is not the container's.
_RUNNER = (1001, 118)


class Machine(Protocol):
    """A place for one job. Paths are as the job sees them."""

    @property
    def workspace(self) -> pathlib.PurePosixPath: ...

    @property
    def temporary(self) -> pathlib.PurePosixPath: ...

    @property
    def home(self) -> pathlib.PurePosixPath: ...

    def outside(self, path: pathlib.PurePosixPath) -> pathlib.Path:
        """Where a path of the job lies for us, between its steps."""

    def run(self, command: Sequence[str], environment: Mapping[str, str], folder: str) -> int:
        """Runs a command in a folder of the job's; returns its exit code."""

    def check_out(self, repository: pathlib.Path) -> None:
        """A clean clone of the newest commit, in the workspace."""


def _clone(repository: pathlib.Path, target: pathlib.Path) -> None:
    commands = [
        ["git", "init", "--quiet", str(target)],
        ["git", "-C", str(target), "fetch", "--quiet", "--depth=1", f"file://{repository}", "HEAD"],
        ["git", "-C", str(target), "checkout", "--quiet", "--detach", "FETCH_HEAD"],
    ]
    for command in commands:
        subprocess.run(command, check=True)


@dataclass(frozen=True)
class Here:
    """This machine, with what is installed on it; home and workspace are empty folders."""

    folder: pathlib.Path

    @property
    def workspace(self) -> pathlib.PurePosixPath:
        return pathlib.PurePosixPath(self.folder, "work")

    @property
    def temporary(self) -> pathlib.PurePosixPath:
        return pathlib.PurePosixPath(self.folder, "temporary")

    @property
    def home(self) -> pathlib.PurePosixPath:
        return pathlib.PurePosixPath(self.folder, "home")

    def outside(self, path: pathlib.PurePosixPath) -> pathlib.Path:
        return pathlib.Path(path)

    def run(self, command: Sequence[str], environment: Mapping[str, str], folder: str) -> int:
        return subprocess.run(command, env=dict(environment), cwd=folder, check=False).returncode

    def check_out(self, repository: pathlib.Path) -> None:
        _clone(repository, self.outside(self.workspace))


@dataclass(frozen=True)
class Root:
    """A root file system, below a layer that takes what the job writes. For the superuser.

    Attributes:
        lower: the root, which stays as it is.
        folder: for the layer.
        binds: places of this machine that are seen in the root, by where they are seen.
    """

    lower: pathlib.Path
    folder: pathlib.Path
    binds: Mapping[str, pathlib.Path]

    workspace = pathlib.PurePosixPath("/__w/retort/retort")
    temporary = pathlib.PurePosixPath("/__w/_temp")
    home = pathlib.PurePosixPath("/github/home")

    def outside(self, path: pathlib.PurePosixPath) -> pathlib.Path:
        return self.folder / "written" / path.relative_to("/")

    def run(self, command: Sequence[str], environment: Mapping[str, str], folder: str) -> int:
        root = self.folder / "root"
        layers = f"lowerdir={self.lower},upperdir={self.folder}/written,workdir={self.folder}/work"
        mounts = [["mount", "-t", "overlay", "overlay", "-o", layers, str(root)]]
        mounts += [["mount", "-t", "proc", "proc", f"{root}/proc"]]
        mounts += [["mount", "--rbind", f"/{name}", f"{root}/{name}"] for name in ("dev", "sys")]
        for seen, place in self.binds.items():
            target = f"{root}{seen}"
            make = ["mkdir", "-p", target] if place.is_dir() else ["touch", target]
            mounts += [make, ["mount", "--bind", "-o", "ro", str(place), target]]
        # Not chroot, in which the kernel gives nobody the user namespaces that Bazel's sandbox needs.
        mounts += [
            ["cd", str(root)],
            ["pivot_root", ".", "."],
            ["umount", "-l", "."],
            ["cd", folder],
        ]
        words = ["env", "-i", *(f"{name}={value}" for name, value in environment.items()), *command]
        script = "\n".join(["set -e", *map(shlex.join, mounts), f"exec {shlex.join(words)}"])
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        return subprocess.run([*apart, "bash", "-c", script], check=False).returncode

    def check_out(self, repository: pathlib.Path) -> None:
        target = self.outside(self.workspace)
        _clone(repository, target)
        subprocess.run(["chown", "-R", "{}:{}".format(*_RUNNER), str(target)], check=True)


def bootstrap(root: pathlib.Path) -> None:
    """Makes a Debian 12 with what an image of it has, and no more; one that is there is taken as it is.

    Raises:
        OSError: debootstrap is not there.
        subprocess.CalledProcessError: it failed; a half-made root is gone.
    """
    if root.exists():
        return
    part = root.with_name(f"{root.name}.part")
    try:
        subprocess.run(["debootstrap", "--variant=minbase", "bookworm", str(part)], check=True)
        part.rename(root)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def place(root: pathlib.Path | None, binds: Mapping[str, pathlib.Path]) -> Iterator[Machine]:
    """A machine for one job, gone afterwards: this one if no root is named."""
    with tempfile.TemporaryDirectory(
        prefix="retort-rehearsal-", dir=root and root.parent, ignore_cleanup_errors=True
    ) as name:
        folder = pathlib.Path(name)
        if root is None:
            machine: Machine = Here(folder)
        else:
            for part in ("root", "work", "written/etc"):
                (folder / part).mkdir(parents=True)
            shutil.copyfile("/etc/resolv.conf", folder / "written/etc/resolv.conf")
            machine = Root(root, folder, binds)
        for path in (machine.workspace, machine.temporary, machine.home):
            os.makedirs(machine.outside(path))
        yield machine
