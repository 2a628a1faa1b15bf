"""Images started without a daemon: unpacked by umoci, run by bubblewrap as their configuration says.

The root is read-only, and what runs is the image's own user: not root under another name.
"""

import os
import pathlib
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tools.oci.image.layout import Layout


@dataclass(frozen=True)
class Container:
    """An unpacked image."""

    layout: Layout
    root: pathlib.Path

    def command(
        self,
        *arguments: str,
        writable: Mapping[str, pathlib.Path] | None = None,
        readable: Mapping[str, pathlib.Path] | None = None,
        network: bool = False,
        entrypoint: Sequence[str] | None = None,
        user: str = "",
    ) -> list[str]:
        """The command that runs the image.

        Args:
            arguments: in place of the image's own.
            writable, readable: path in the image to the directory that is mounted there.
            network: whether it shares the machine's.
            entrypoint: in place of the image's.
            user: UID:GID in place of the image's, as `docker run --user` takes it.
        """
        config = self.layout.config["config"]
        user, _, group = (user or config["User"]).partition(":")
        command = []
        if os.getuid() == 0:
            command += ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        command += ["bwrap", "--unshare-all", "--uid", user, "--gid", group]
        command += ["--die-with-parent", "--clearenv", "--cap-drop", "ALL"]
        command += ["--share-net"] * network
        command += ["--ro-bind", str(self.root), "/", "--proc", "/proc", "--dev", "/dev"]
        command += ["--tmpfs", "/tmp", "--chdir", config["WorkingDir"]]
        for variable in config["Env"]:
            name, _, value = variable.partition("=")
            command += ["--setenv", name, value]
        for path, directory in (writable or {}).items():
            command += ["--bind", str(directory), path]
        for path, directory in (readable or {}).items():
            command += ["--ro-bind", str(directory), path]
        program = config["Entrypoint"] if entrypoint is None else entrypoint
        return [*command, *program, *(arguments or config.get("Cmd", []))]

    def run(
        self, *arguments: str, **options: Mapping[str, pathlib.Path] | Sequence[str] | str | None
    ) -> subprocess.CompletedProcess[str]:
        """Runs it to its end; see `command`."""
        command = self.command(*arguments, **options)  # type: ignore[arg-type]
        return subprocess.run(command, capture_output=True, text=True, check=False)


def unpack(layout: pathlib.Path, folder: pathlib.Path) -> Container:
    """Unpacks an image below a folder that everybody may enter."""
    image = f"{layout.resolve()}:latest"
    bundle = folder / layout.name
    command = ["umoci", "unpack", "--image", image, str(bundle)]
    command += ["--rootless"] * (os.getuid() != 0)
    subprocess.run(command, capture_output=True, check=True)
    bundle.chmod(0o755)
    return Container(Layout.open(layout), bundle / "rootfs")
