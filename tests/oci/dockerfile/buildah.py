"""docker/Dockerfile by buildah, without a daemon and from local images alone: for tests and measurements.

What pip may read (its settings, local indexes, certificates) is handed to the build as it is on this machine.
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from third_party.requirements.pip import settings as pip_settings
from tools.oci.errors import ImageError

_MOUNTS = pathlib.Path("/proc/self/mounts")
_DEBIAN = "bookworm"


@dataclass(frozen=True)
class PipAccess:
    """How pip reaches packages here.

    Attributes:
        settings: of its section `global`.
        paths: local files and folders that they name.
    """

    settings: Mapping[str, str] = field(default_factory=dict)
    paths: tuple[pathlib.Path, ...] = ()

    @classmethod
    def of_this_machine(cls) -> "PipAccess":
        """Where pip's settings have it look, of files and variables alike."""
        settings = {key: " ".join(value.split()) for key, value in pip_settings().items()}
        paths = []
        for word in " ".join(settings.values()).split():
            if word.startswith("file://"):
                paths.append(pathlib.Path(word.removeprefix("file://")).parent)
            elif word.startswith("/"):
                paths.append(pathlib.Path(word))
        return cls(settings, tuple(dict.fromkeys(path for path in paths if path.exists())))

    def config_file(self) -> str:
        """The content of a pip.conf."""
        return "[global]\n" + "".join(f"{key} = {value}\n" for key, value in self.settings.items())


def bootstrap(folder: pathlib.Path) -> None:
    """Fills a folder with a small Debian 12 that has Python 3.11 and pip; takes a minute and the right to chroot.

    Raises:
        ImageError: debootstrap failed.
    """
    packages = "ca-certificates,python3-pip"
    command = ["debootstrap", "--variant=minbase", f"--include={packages}", _DEBIAN, str(folder)]
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    _run(command, os.environ | {"PATH": path})


@dataclass(frozen=True)
class Buildah:
    """buildah with a storage of its own.

    Attributes:
        storage: a folder for images and layers; what is in it belongs to root and is made by `mounted` and its like.
        driver: overlay, or vfs where a kernel has no overlay.
    """

    storage: pathlib.Path
    pip: PipAccess
    driver: str = "overlay"

    def import_rootfs(self, rootfs: pathlib.Path, name: str) -> None:
        """Makes an image of one layer from a folder."""
        container = self._buildah("from", "scratch")
        with tempfile.TemporaryFile() as archive:
            subprocess.run(["tar", "-C", rootfs, "-c", "."], stdout=archive, check=True)
            archive.seek(0)
            mounted = self._buildah("mount", container)
            subprocess.run(["tar", "-C", mounted, "-x"], stdin=archive, check=True)
        self._buildah("umount", container)
        self._buildah("commit", "--rm", container, f"localhost/{name}")

    def build(
        self, checkout: pathlib.Path, target: str, arguments: Mapping[str, str], name: str = ""
    ) -> None:
        """Builds a target of docker/Dockerfile; what is cached in the storage is used.

        Args:
            arguments: of the Dockerfile; BUILDER and BASE name images of this storage.
            name: of the image, `localhost/NAME`; the target's if none.
        Raises:
            ImageError: the build failed; the end of what it said is there.
        """
        with tempfile.TemporaryDirectory(prefix="buildah-") as folder:
            settings = pathlib.Path(folder, "pip.conf")
            settings.write_text(self.pip.config_file(), encoding="utf-8")
            self._buildah(
                *("build", "--layers", "--network=host", f"--secret=id=pip,src={settings}"),
                *(f"--volume={path}:{path}:ro" for path in self.pip.paths),
                *(f"--build-arg={key}={value}" for key, value in arguments.items()),
                *(f"--target={target}", f"--tag=localhost/{name or target}"),
                *(f"--file={checkout / 'docker/Dockerfile'}", str(checkout)),
            )

    def forget_layers(self, keep: Sequence[str]) -> None:
        """Removes every image but those named; what RUN keeps in cache mounts, such as pip's cache, stays."""
        kept = {self._buildah("inspect", "--format={{.FromImageID}}", name) for name in keep}
        listed = self._buildah("images", "--all", "--quiet", "--no-trunc").split()
        for image in dict.fromkeys(listed):
            if image.removeprefix("sha256:") not in kept:
                self._buildah("rmi", "--force", image, may_fail=True)

    @contextlib.contextmanager
    def mounted(self, name: str) -> Iterator[pathlib.Path]:
        """An image's file system, for as long as the context lasts."""
        container = self._buildah("from", f"localhost/{name}")
        try:
            yield pathlib.Path(self._buildah("mount", container))
        finally:
            self._buildah("rm", container)

    def remove(self) -> None:
        """Takes the storage away: containers that a failed build left, what is mounted below it, and all files."""
        self._buildah("rm", "--all", may_fail=True)
        mounts = [line.split()[1] for line in _MOUNTS.read_text().splitlines()]
        for mount in sorted(mounts, reverse=True):
            if pathlib.Path(mount).is_relative_to(self.storage.resolve()):
                _run(["umount", mount], os.environ)
        shutil.rmtree(self.storage)

    def export(self, name: str, layout: pathlib.Path) -> None:
        """Writes an image as a layout; buildah compresses its layers by gzip."""
        self._buildah("push", f"localhost/{name}", f"oci:{layout}")

    def _buildah(self, *arguments: str, may_fail: bool = False) -> str:
        storage = [f"--root={self.storage / 'root'}", f"--runroot={self.storage / 'run'}"]
        # Cache mounts lie below TMPDIR.
        temporary = self.storage / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {
            "BUILDAH_ISOLATION": "chroot",
            "STORAGE_DRIVER": self.driver,
            "TMPDIR": str(temporary),
        }
        return _run(["buildah", *storage, *arguments], environment, may_fail=may_fail)


def _run(command: Sequence[str], environment: Mapping[str, str], *, may_fail: bool = False) -> str:
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace", check=False
        )
    except FileNotFoundError as error:
        raise ImageError(
            f"there is no {command[0]} here (Debian: apt-get install {command[0]})"
        ) from error
    if done.returncode and not may_fail:
        raise ImageError(f"{command[0]} failed: {(done.stdout + done.stderr)[-3000:]}")
    return done.stdout.strip()
