"""Canonical layers: the same files give the same tar, whoever writes it, wherever and whenever.

A layer follows the OCI Image Format Specification 1.1 (layer.md). What is canonical: members sorted by path, each
directory once and before what is in it, numeric owner 0:0 without names, modes 0755 and 0644, every time 0, pax headers
(POSIX.1-2001) where a plain one is too short, and no compression.
"""

import hashlib
import io
import pathlib
import stat
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import IO, Any

from tools.oci.errors import ImageError
from tools.oci.image.layout import canonical_json

_BLOCK = 1 << 20
_KINDS = {tarfile.REGTYPE: "file", tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "symlink"}
_TYPES = {kind: code for code, kind in _KINDS.items()}


@dataclass(frozen=True)
class Entry:
    """One member of a layer.

    Attributes:
        path: relative to the root, without `.` and `..`.
        kind: file, directory or symlink.
        mode: permission bits.
        content: of a file, in memory or where it lies.
        target: of a symlink, as written.
    """

    path: str
    kind: str
    mode: int
    content: bytes | pathlib.Path = b""
    target: str = ""
    owner: int = 0
    mtime: float = 0


@dataclass(frozen=True)
class Package:
    """A distribution or a Debian package that a layer brings: what an SBOM says of it."""

    type: str
    name: str
    version: str
    sha256: str = ""
    licence: str = ""
    architecture: str = ""
    source: str = ""
    requires: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Its fields, those apart that have nothing to say for its type."""
        content: dict[str, Any] = {
            "type": self.type,
            "name": self.name,
            "version": self.version,
            "sha256": self.sha256,
            "licence": self.licence,
        }
        if self.type == "deb":
            return content | {"architecture": self.architecture, "source": self.source}
        return content | {"requires": list(self.requires)}


@dataclass(frozen=True)
class Tree:
    """What goes into a layer."""

    entries: list[Entry] = field(default_factory=list)
    packages: list[Package] = field(default_factory=list)


def _checked(path: str) -> str:
    clean = path.strip("/")
    parts = pathlib.PurePosixPath(clean).parts
    if not parts or ".." in parts or "/".join(parts) != clean or "\0" in clean:
        raise ImageError(f"not a path inside an image: {path!r}")
    return clean


def file(path: str, content: bytes | pathlib.Path, executable: bool = False) -> Entry:
    """A file of root's that everybody may read."""
    return Entry(_checked(path), "file", 0o755 if executable else 0o644, content)


def copied(path: str, source: pathlib.Path) -> Entry:
    """A file as it lies on disk: executable if its owner may execute it."""
    return file(path, source, bool(source.stat().st_mode & stat.S_IXUSR))


def directory(path: str, mode: int = 0o755) -> Entry:
    """A directory of root's."""
    return Entry(_checked(path), "directory", mode)


def symlink(path: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(_checked(path), "symlink", 0o777, target=target)


def same(one: Entry, two: Entry) -> bool:
    """Whether two entries of one path are the same in an image."""
    if replace(one, content=b"") != replace(two, content=b""):
        return False
    return one.content == two.content or _bytes(one) == _bytes(two)


def _bytes(entry: Entry) -> bytes:
    return entry.content if isinstance(entry.content, bytes) else entry.content.read_bytes()


def canonical(entries: Iterable[Entry]) -> list[Entry]:
    """Sorts entries and adds the directories above them.

    Raises:
        ImageError: a path has two contents, or lies below a file.
    """
    found: dict[str, Entry] = {}
    for entry in entries:
        before = found.setdefault(entry.path, entry)
        if before is not entry and not same(before, entry):
            raise ImageError(f"/{entry.path} is wanted twice, with different content")
    for path in list(found):
        for parent in pathlib.PurePosixPath(path).parents:
            above = found.setdefault(str(parent), directory(str(parent))) if parent.name else None
            if above and above.kind != "directory":
                raise ImageError(f"/{path} lies below /{parent}, which is a {above.kind}")
    return sorted(found.values(), key=lambda entry: entry.path.split("/"))


class _Hashed(io.RawIOBase):
    """Writes to a file and hashes what it writes."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, block: Any) -> int:
        self.digest.update(block)
        self.size += len(block)
        return self._file.write(block)


def _header(entry: Entry, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(entry.path)
    header.type = _TYPES[entry.kind]
    header.mode = entry.mode
    header.uid = header.gid = entry.owner
    header.mtime = entry.mtime
    header.size = size
    header.linkname = entry.target
    return header


def _add(archive: tarfile.TarFile, entry: Entry) -> str:
    """Writes one member; returns the SHA-256 of its content, or an empty word where it has none."""
    if entry.kind != "file":
        archive.addfile(_header(entry, 0))
        return ""
    if isinstance(entry.content, bytes):
        archive.addfile(_header(entry, len(entry.content)), io.BytesIO(entry.content))
        return hashlib.sha256(entry.content).hexdigest()
    with entry.content.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
        size = content.tell()
        content.seek(0)
        archive.addfile(_header(entry, size), content)
    return digest


def write_layer(name: str, tree: Tree, tar: pathlib.Path, index: pathlib.Path) -> None:
    """Writes a layer and its index.

    The index is what other steps need to know of the layer without reading it: `diff_id`, `size`, the `packages` and,
    for every path, `[kind, mode, SHA-256 or link target, size]`.

    Args:
        tree: its entries are written in the order given: see `canonical`.
    """
    index_entries = {}
    with tar.open("wb") as file:
        stream = _Hashed(file)
        with tarfile.open(
            fileobj=stream,
            mode="w|",
            bufsize=_BLOCK,
            format=tarfile.PAX_FORMAT,
        ) as archive:
            for entry in tree.entries:
                before = archive.offset
                content = _add(archive, entry) or entry.target
                size = archive.offset - before if entry.kind == "file" else 0
                index_entries[entry.path] = [entry.kind, entry.mode, content, size]
    packages = sorted(tree.packages, key=lambda package: (package.type, package.name))
    index.write_bytes(
        canonical_json(
            {
                "name": name,
                "diff_id": f"sha256:{stream.digest.hexdigest()}",
                "size": stream.size,
                "packages": [package.to_json() for package in packages],
                "entries": index_entries,
            }
        )
    )
