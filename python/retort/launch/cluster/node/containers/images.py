"""Images that a node has: OCI layouts, verified and unpacked, and programs of this machine that stand for one.

Layouts follow the OCI Image Format Specification 1.1 (image-layout.md, manifest.md, layer.md).
"""

import gzip
import hashlib
import json
import os
import re
import shutil
import tarfile
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import zstandard

from retort.core.atomic import replacing, storage_errors
from retort.core.errors import RetortError, UserError, shown

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_REMOVED = ".wh."
_EMPTIED = ".wh..wh..opq"
_UNREADABLE = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError)


class ImageMissing(RetortError):
    """An image is none that the node has, or is damaged."""


@dataclass(frozen=True)
class Image:
    """What a container is started from.

    Attributes:
        reference: what it is called.
        root: the directory that is its file system; None for the machine's own.
        entrypoint, arguments: what it runs if nobody says otherwise.
        environment: the variables it sets.
        user: user and group number; empty for none in particular.
        directory: where it starts.
        digest: of its manifest; empty for a program.
    """

    reference: str
    root: Path | None
    entrypoint: Sequence[str] = ()
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    directory: str = "/"
    digest: str = ""


_PROGRAM_ENVIRONMENT = {
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "LOGNAME": "retort",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "TZ": "UTC",
    "USER": "retort",
}
"""As our own base image has it."""


class Images:
    """The images of a node.

    Args:
        named: what a reference, or its part before the digest or the tag, stands for: a layout's
            directory or a program.
        unpacked: the directory for unpacked ones.
    Raises:
        UserError: something named is neither a layout nor a program.
    """

    def __init__(self, named: Mapping[str, Path], unpacked: Path) -> None:
        self._named = dict(named)
        self._unpacked = unpacked
        self._lock = threading.Lock()
        for reference, path in self._named.items():
            if not _is_layout(path) and not (path.is_file() and os.access(path, os.X_OK)):
                raise UserError(
                    f"--image {shown(reference)}={shown(path)}: neither the directory of an OCI layout nor a "
                    "program; give what //docker:training built, or a program of this machine"
                )

    def get(self, reference: str) -> Image:
        """The image of a reference, unpacked.

        A layout is found by its digest, whatever it is called, and by its name otherwise.

        Raises:
            ImageMissing: there is none, or it is damaged.
            StorageError: it cannot be unpacked.
        """
        name, _, digest = reference.partition("@")
        layouts = [(one, path) for one, path in self._named.items() if _is_layout(path)]
        for _, path in layouts:
            if digest and _manifest_digest(path) == digest:
                return self._from_layout(reference, path, digest)
        found = self._named.get(reference) or self._named.get(_untagged(name))
        if found is None:
            raise ImageMissing(
                f'failed to pull image "{reference}": not found; name its layout, or a program that stands '
                "for it, with --image"
            )
        if not _is_layout(found):
            program = (str(found),)
            return Image(reference, None, program, environment=_PROGRAM_ENVIRONMENT)
        there = _manifest_digest(found)
        if digest:
            raise ImageMissing(
                f'failed to pull image "{reference}": not found; the layout of that name has {there}'
            )
        return self._from_layout(reference, found, there)

    def _from_layout(self, reference: str, layout: Path, digest: str) -> Image:
        manifest = json.loads(_blob(layout, digest).read_bytes())
        settings = json.loads(_blob(layout, manifest["config"]["digest"]).read_bytes())
        settings = settings.get("config") or {}
        root = self._unpacked / digest.replace(":", "-")
        # Two pods of one image: the second waits, instead of unpacking it again.
        with self._lock:
            if not root.is_dir():
                _unpack(layout, manifest, root)
        variables = (one.partition("=") for one in settings.get("Env") or ())
        return Image(
            reference,
            root,
            tuple(settings.get("Entrypoint") or ()),
            tuple(settings.get("Cmd") or ()),
            {name: value for name, _, value in variables},
            settings.get("User") or "",
            settings.get("WorkingDir") or "/",
            digest,
        )


def _untagged(name: str) -> str:
    """A name without its tag; the colon of a registry's port is no tag."""
    return re.sub(r":[^/:]*$", "", name)


def _is_layout(path: Path) -> bool:
    return (path / "oci-layout").is_file()


def _manifest_digest(layout: Path) -> str:
    try:
        index: dict[str, Any] = json.loads((layout / "index.json").read_bytes())
        listed = [one for one in index["manifests"] if one.get("mediaType") == _MANIFEST]
        if len(listed) != 1:
            raise ImageMissing(
                f"{shown(layout)}: has {len(listed)} images; a layout of one is needed"
            )
        return str(listed[0]["digest"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImageMissing(f"{shown(layout)}: its index cannot be read: {error}") from error


def _blob(layout: Path, digest: str) -> Path:
    """A blob that is what its digest says.

    Raises:
        ImageMissing: it is absent or damaged.
    """
    path = layout / "blobs" / digest.replace(":", "/")
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageMissing(f"{shown(path)}: cannot be read: {error.strerror}") from error
    if f"sha256:{found}" != digest:
        raise ImageMissing(f"{shown(path)}: is damaged; build the image again")
    return path


def _unpack(layout: Path, manifest: Mapping[str, Any], root: Path) -> None:
    with storage_errors(root), replacing(root, lambda _: None) as folder:
        folder.mkdir(exist_ok=True)
        for layer in manifest["layers"]:
            blob = _blob(layout, layer["digest"])
            try:
                with (
                    _uncompressed(blob, layer["mediaType"]) as stream,
                    tarfile.open(fileobj=stream, mode="r|") as archive,
                ):
                    _extract(archive, folder)
            except _UNREADABLE as error:
                raise ImageMissing(f"{shown(blob)}: cannot be unpacked: {error}") from error
        folder.chmod(0o755)
        # Once for all of its files: what is there by its name is whole, also after a power cut.
        os.sync()


@contextmanager
def _uncompressed(path: Path, media_type: str) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        if media_type == _LAYER:
            yield file
        elif media_type == f"{_LAYER}+gzip":
            with gzip.open(file) as stream:
                yield stream  # type: ignore[misc]  # a GzipFile reads bytes as any file does
        elif media_type == f"{_LAYER}+zstd":
            with zstandard.ZstdDecompressor().stream_reader(file) as stream:
                yield stream
        else:
            raise ImageMissing(f"{shown(path)}: is of the kind {shown(media_type)}, unknown here")


def _extract(archive: tarfile.TarFile, folder: Path) -> None:
    """Take in a layer (layer.md, "Whiteouts"), of which nothing is written outside of the folder."""
    for member in archive:
        path = _inside(folder, member.name)
        if path.name == _EMPTIED:
            for one in path.parent.iterdir():
                _remove(one)
        elif path.name.startswith(_REMOVED):
            _remove(path.with_name(path.name.removeprefix(_REMOVED)))
        elif member.isreg() or member.isdir() or member.issym() or member.islnk():
            if member.islnk():
                _inside(folder, member.linkname)
            # Devices are the container's own; owners are those of whoever unpacks.
            if path != folder and (not member.isdir() or path.is_symlink()):
                _remove(path)
            member.uid, member.gid = os.getuid(), os.getgid()
            archive.extract(member, folder, numeric_owner=True)


def _inside(folder: Path, name: str) -> Path:
    """The path of a name in an archive, which leads nowhere else."""
    path = folder / name.rstrip("/").lstrip("/")
    parent = os.path.realpath(path.parent)
    if path != folder and not Path(parent).is_relative_to(os.path.realpath(folder)):
        raise tarfile.TarError(f"{shown(name)} leads out of the image")
    if path.name in ("..", "."):
        raise tarfile.TarError(f"{shown(name)} is no path of a file")
    return path


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
