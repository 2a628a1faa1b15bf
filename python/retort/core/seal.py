"""Sealed directories: the only code that writes or checks a seal.

A sealed directory holds `manifest.json`: the kind of the directory, the digests of the inputs it
was made from, the configuration, and path, size and SHA-256 of every other file. The file is
canonical JSON, so the seal is simply its SHA-256 (`sha256sum manifest.json` prints it).
"""

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from retort.core.atomic import replacing, sync_path
from retort.core.digest import JSON, canonical_json, sha256_bytes, sha256_file
from retort.core.errors import SealError

MANIFEST = "manifest.json"
_FORMAT = 1
_THREADS = 4
"""That hash files: more than the storage can read at a time would not be faster."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_KEYS = {"config", "files", "format", "inputs", "kind"}


@dataclass(frozen=True)
class FileEntry:
    """One file of a sealed directory: POSIX path within it, size in bytes, SHA-256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a sealed directory says about itself."""

    kind: str
    inputs: Mapping[str, str]
    config: Mapping[str, JSON]
    files: tuple[FileEntry, ...]

    def to_bytes(self) -> bytes:
        """The content of `manifest.json`, whose SHA-256 is the seal."""
        return canonical_json(
            {
                "format": _FORMAT,
                "kind": self.kind,
                "inputs": dict(self.inputs),
                "config": dict(self.config),
                "files": [
                    {"path": file.path, "size": file.size, "sha256": file.sha256}
                    for file in self.files
                ],
            }
        )


@dataclass(frozen=True)
class Sealed:
    """A directory whose seal has been verified."""

    path: Path
    kind: str
    seal: str
    manifest: Manifest

    def read(self, name: str) -> bytes:
        """The content of one file, checked again: the bytes returned are the bytes sealed."""
        entry = next((file for file in self.manifest.files if file.path == name), None)
        if entry is None:
            raise SealError(f"{self.path / name}: is not part of this sealed {self.kind}")
        try:
            data = (self.path / name).read_bytes()
        except OSError as error:
            raise SealError(f"{self.path / name}: cannot be read: {error.strerror}") from error
        if sha256_bytes(data) != entry.sha256:
            raise SealError(f"{self.path / name}: is altered: its SHA-256 is not the sealed one")
        return data


@contextmanager
def sealing(
    target: Path, *, kind: str, inputs: Mapping[str, str], config: Mapping[str, JSON]
) -> Iterator[Path]:
    """Yield an empty directory to fill; seal it and rename it to `target` on a normal exit.

    A sealed directory of the same kind at `target` is replaced in one step; anything else that
    is not empty is left alone and refused. On an error nothing is left behind.

    Raises:
        SealError: `target` holds something else, or the block left a file that cannot be sealed.
        StorageError: the disk is full, permission is missing, or a file is in the way.
    """

    def check_same_kind(existing: Path) -> None:
        present = read_manifest(existing).kind
        if present != kind:
            raise SealError(f"{existing}: holds a sealed {present}, not a {kind}; remove it first")

    with replacing(target, check_same_kind) as temporary:
        yield temporary
        with ThreadPoolExecutor(_THREADS) as threads:  # hashing leaves the interpreter to others
            files = tuple(threads.map(lambda path: _seal_file(temporary, path), _files(temporary)))
        manifest = Manifest(kind, dict(inputs), dict(config), files)
        content = manifest.to_bytes()
        _parse(target, content)
        (temporary / MANIFEST).write_bytes(content)
        sync_path(temporary / MANIFEST)


def verify(path: Path, *, kind: str | None = None) -> Sealed:
    """Check every digest of a sealed directory, and that nothing was added to it.

    Args:
        kind: what the directory must be, if the caller cares.
    Raises:
        SealError: it is not sealed, truncated, altered or of another kind; the file is named.
    """
    manifest = read_manifest(path)
    if kind is not None and manifest.kind != kind:
        raise SealError(f"{path}: is a sealed {manifest.kind}, and a {kind} is needed")
    for file in manifest.files:
        if not os.path.lexists(path / file.path):
            raise SealError(f"{path / file.path}: is missing")
    try:
        present = set(_files(path)) - {MANIFEST}
        with ThreadPoolExecutor(_THREADS) as threads:
            for _ in threads.map(lambda file: _check_file(path / file.path, file), manifest.files):
                pass
    except OSError as error:
        raise SealError(f"{error.filename}: cannot be read: {error.strerror}") from error
    extra = sorted(present - {file.path for file in manifest.files})
    if extra:
        raise SealError(f"{path / extra[0]}: is not part of this sealed {manifest.kind}")
    seal = f"sha256:{sha256_bytes(manifest.to_bytes())}"
    return Sealed(path, manifest.kind, seal, manifest)


def sealed_here(path: Path) -> Sealed:
    """A directory that this process has just sealed: its files are not read again.

    Raises:
        SealError: it is not sealed.
    """
    manifest = read_manifest(path)
    return Sealed(path, manifest.kind, f"sha256:{sha256_bytes(manifest.to_bytes())}", manifest)


def read_manifest(path: Path) -> Manifest:
    """The manifest of a sealed directory, its form checked but not the files that it lists."""
    if not path.is_dir():
        reason = "is not a directory" if path.exists() else "does not exist"
        raise SealError(f"{path}: {reason}; a sealed directory is needed")
    file = path / MANIFEST
    if file.is_symlink():
        raise SealError(f"{file}: is a symbolic link, which a sealed directory cannot hold")
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise SealError(f"{path}: is not sealed: it has no {MANIFEST}") from error
    except OSError as error:
        raise SealError(f"{file}: cannot be read: {error.strerror}") from error
    return _parse(path, content)


def _seal_file(root: Path, path: str) -> FileEntry:
    file = root / path
    sync_path(file)
    return FileEntry(path, file.stat().st_size, sha256_file(file))


def _check_file(path: Path, expected: FileEntry) -> None:
    size = path.stat().st_size
    if size != expected.size:
        change = "truncated" if size < expected.size else "altered"
        raise SealError(f"{path}: is {change}: {size} bytes, {expected.size} were sealed")
    if sha256_file(path) != expected.sha256:
        raise SealError(f"{path}: is altered: its SHA-256 is not the sealed one")


def _files(root: Path) -> list[str]:
    """The POSIX paths of all files below `root`, sorted. Refuses what cannot be sealed."""
    found = []
    for directory, names, files in os.walk(root, onerror=_raise):
        if not names and not files and Path(directory) != root:
            raise SealError(f"{directory}: is an empty directory, which cannot be sealed")
        for name in names + files:
            path = Path(directory) / name
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                what = "a symbolic link" if stat.S_ISLNK(mode) else "not a regular file"
                raise SealError(f"{_printable(path)}: is {what}, which cannot be sealed")
            if not _NAME.fullmatch(name):
                raise SealError(
                    f"{_printable(path)}: has a name that cannot be sealed; "
                    "use letters, digits and . _ + -, not first a dot"
                )
            if stat.S_ISREG(mode):
                found.append(path.relative_to(root).as_posix())
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error


def _printable(path: Path) -> str:
    return str(path).encode("unicode_escape", "surrogateescape").decode("ascii")


def _parse(path: Path, content: bytes) -> Manifest:
    """Read a manifest strictly: the bytes must be the ones that we would write."""
    file = path / MANIFEST
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SealError(f"{file}: is not valid JSON: truncated or altered") from error
    if not isinstance(value, dict) or value.keys() != _KEYS:
        raise SealError(f"{file}: is not the manifest of a sealed directory")
    if value["format"] != _FORMAT:
        raise SealError(f"{file}: has format {value['format']!r}; this program reads {_FORMAT}")
    try:
        manifest = Manifest(
            kind=_text(value["kind"]),
            inputs={_text(name): _text(digest) for name, digest in value["inputs"].items()},
            config=dict(value["config"].items()),
            files=tuple(_file_entry(entry) for entry in value["files"]),
        )
        paths = [entry.path for entry in manifest.files]
        well_formed = paths == sorted(set(paths)) and manifest.to_bytes() == content
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise SealError(f"{file}: is malformed: {error}") from error
    if not well_formed:
        raise SealError(f"{file}: is altered: it is not in canonical form")
    return manifest


def _file_entry(value: dict[str, JSON]) -> FileEntry:
    path, size, digest = value["path"], value["size"], value["sha256"]
    names = _text(path).split("/")
    if path == MANIFEST or not all(_NAME.fullmatch(name) for name in names):
        raise ValueError(f"path {path!r}")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError(f"size {size!r} of {path}")
    if not _DIGEST.fullmatch(_text(digest)):
        raise ValueError(f"SHA-256 {digest!r} of {path}")
    return FileEntry(str(path), size, str(digest))


def _text(value: JSON) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} where text is needed")
    return value
