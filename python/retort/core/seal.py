"""Sealed directories: the only code that writes or checks a seal.

A sealed directory holds `manifest.json`: the kind of the directory, the digests of the inputs it
was made from, the configuration, and path, size and SHA-256 of every other file. The file is
canonical JSON, so the seal is simply its SHA-256 (`sha256sum manifest.json` prints it).

A directory alone proves that it is whole: its files are those of its manifest. That the manifest is
the one that was sealed is proven by the seal, kept elsewhere and given to `verify`; what lies beside
the directory (`remember`) finds an accident, not somebody who writes there.
"""

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from retort.core.atomic import replacing, storage_errors, sync_path
from retort.core.digest import JSON, canonical_json, open_regular, sha256_bytes, sha256_file
from retort.core.errors import SealError, UserError, shown

MANIFEST = "manifest.json"
_FORMAT = 1
_THREADS = 4
"""That hash files: more than the storage can read at a time would not be faster."""
_MOST = 64 << 20
"""Bytes of a manifest: a token store of 350,000 shards, which is 700 GB of text, has as many."""
_MOST_SAID = 1 << 20
"""Bytes of a manifest without its list of files. Configurations have some thousand."""
_DEPTH = 64
"""Of a configuration: far from what a reader could not follow. They have about five levels."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,254}", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._+-]{0,199}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SEAL = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
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

    @property
    def seal(self) -> str:
        """The SHA-256 of `manifest.json`."""
        return f"sha256:{sha256_bytes(self.to_bytes())}"

    def to_bytes(self) -> bytes:
        """The content of `manifest.json`."""
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
        path = self.path / name
        entry = next((file for file in self.manifest.files if file.path == name), None)
        if entry is None:
            raise SealError(f"{shown(path)}: is not part of this sealed {self.kind}")
        try:
            with open_regular(path, follow=False) as file:
                data = file.read(entry.size + 1)
        except OSError as error:
            raise _unreadable(path, error) from error
        if sha256_bytes(data) != entry.sha256:
            raise SealError(f"{shown(path)}: is altered: its SHA-256 is not the sealed one")
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
            raise SealError(
                f"{shown(existing)}: holds a sealed {present}, not a {kind}; remove it first"
            )

    with replacing(target, check_same_kind) as temporary:
        yield temporary
        with ThreadPoolExecutor(_THREADS) as threads:  # hashing leaves the interpreter to others
            files = tuple(threads.map(lambda path: _seal_file(temporary, path), _files(temporary)))
        manifest = Manifest(kind, dict(inputs), dict(config), files)
        content = manifest.to_bytes()
        _parse(target, content)
        (temporary / MANIFEST).write_bytes(content)
        sync_path(temporary / MANIFEST)
        # It is of what is replaced now: better none than one that does not fit.
        _beside(target).unlink(missing_ok=True)


def verify(path: Path, *, kind: str | None = None, seal: str | None = None) -> Sealed:
    """Check every digest of a sealed directory, and that nothing was added to it.

    Args:
        kind: what the directory must be, if the caller cares.
        seal: the one that it must have; without it, the one remembered beside it, if there is one.
    Raises:
        UserError: `seal` is not a seal.
        SealError: it is not sealed, truncated, altered or of another kind, or has another seal; the
            file is named.
    """
    if seal is not None and not _SEAL.fullmatch(seal):
        raise UserError(
            f"--seal {shown(seal)}: is not a seal; write sha256: and 64 hexadecimal digits in lower "
            "case, as the command printed them that sealed the directory"
        )
    manifest = read_manifest(path)
    if kind is not None and manifest.kind != kind:
        raise SealError(f"{shown(path)}: is a sealed {manifest.kind}, and a {kind} is needed")
    sealed = Sealed(path, manifest.kind, manifest.seal, manifest)
    _check_seal(sealed, seal)
    for file in manifest.files:
        if not os.path.lexists(path / file.path):
            raise SealError(f"{shown(path / file.path)}: is missing")
    try:
        present = set(_files(path)) - {MANIFEST}
        with ThreadPoolExecutor(_THREADS) as threads:
            for _ in threads.map(lambda file: _check_file(path / file.path, file), manifest.files):
                pass
    except OSError as error:
        raise _unreadable(path, error) from error
    extra = sorted(present - {file.path for file in manifest.files})
    if extra:
        raise SealError(f"{shown(path / extra[0])}: is not part of this sealed {manifest.kind}")
    return sealed


def sealed_here(path: Path) -> Sealed:
    """A directory that this process has just sealed: its files are not read again.

    Raises:
        SealError: it is not sealed.
    """
    manifest = read_manifest(path)
    return Sealed(path, manifest.kind, manifest.seal, manifest)


def remember(sealed: Sealed) -> None:
    """Write the seal of a directory beside it, in `<directory>.seal`, for `verify` to compare.

    Raises:
        StorageError: it cannot be written.
    """
    file = _beside(sealed.path)
    partial = file.with_name(f".{file.name}.partial")
    with storage_errors(file):
        partial.write_text(f"{sealed.seal}\n", encoding="ascii")
        sync_path(partial)
        partial.replace(file)


def read_manifest(path: Path) -> Manifest:
    """The manifest of a sealed directory, its form checked but not the files that it lists."""
    try:
        directory = stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise SealError(f"{shown(path)}: does not exist; a sealed directory is needed") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if not directory:
        raise SealError(f"{shown(path)}: is not a directory; a sealed directory is needed")
    file = path / MANIFEST
    try:
        with open_regular(file, follow=False) as opened:
            content = opened.read(_MOST + 1)
    except FileNotFoundError as error:
        raise SealError(f"{shown(path)}: is not sealed: it has no {MANIFEST}") from error
    except OSError as error:
        raise _unreadable(file, error) from error
    return _parse(path, content)


def _check_seal(sealed: Sealed, wanted: str | None) -> None:
    """Compare the seal with the one wanted, or else with the one remembered."""
    source = "is wanted"
    if wanted is None:
        file = _beside(sealed.path)
        try:
            with open_regular(file) as opened:
                wanted = opened.read(100).decode("ascii", "replace").rstrip("\n")
        except OSError as error:
            if error.errno in _NOT_THERE:
                return
            raise _unreadable(file, error) from error
        source = f"was remembered in {shown(file)}"
        if not _SEAL.fullmatch(wanted):
            raise SealError(
                f"{shown(file)}: is altered: it holds no seal; remove it, and name the seal with "
                "--seal if you know it"
            )
    if sealed.seal != wanted:
        raise SealError(
            f"{shown(sealed.path)}: its seal is {sealed.seal}, and {wanted} {source}: it is another "
            f"{sealed.kind}, or its {MANIFEST} was altered"
        )


def _beside(path: Path) -> Path:
    """Where the seal of a directory is remembered."""
    path = Path(os.path.abspath(path))
    return path.with_name(f"{path.name}.seal")


def _unreadable(path: Path, error: OSError) -> SealError:
    """Of the file that the error names, or else of `path`."""
    named = path if error.filename is None else os.fsdecode(error.filename)
    return SealError(f"{shown(named)}: cannot be read: {error.strerror}")


def _seal_file(root: Path, path: str) -> FileEntry:
    file = root / path
    sync_path(file)
    return FileEntry(path, file.stat().st_size, sha256_file(file))


def _check_file(path: Path, expected: FileEntry) -> None:
    with open_regular(path, follow=False) as file:
        size = os.fstat(file.fileno()).st_size
        if size != expected.size:
            change = "truncated" if size < expected.size else "altered"
            raise SealError(
                f"{shown(path)}: is {change}: {size} bytes, {expected.size} were sealed"
            )
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != expected.sha256:
        raise SealError(f"{shown(path)}: is altered: its SHA-256 is not the sealed one")


def _files(root: Path) -> list[str]:
    """The POSIX paths of all files below `root`, sorted. Refuses what cannot be sealed."""
    found, waiting = [], [root]
    while waiting:
        directory = waiting.pop()
        names = sorted(os.listdir(directory))
        if not names and directory != root:
            raise SealError(f"{shown(directory)}: is an empty directory, which cannot be sealed")
        for name in names:
            path = directory / name
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                what = "a symbolic link" if stat.S_ISLNK(mode) else "not a regular file"
                raise SealError(f"{_escaped(path)}: is {what}, which cannot be sealed")
            if not _NAME.fullmatch(name):
                raise SealError(
                    f"{_escaped(path)}: has a name that cannot be sealed; "
                    "use letters, digits and . _ + -, not first a dot"
                )
            if stat.S_ISREG(mode):
                found.append(path.relative_to(root).as_posix())
            else:
                waiting.append(path)
    return sorted(found)


def _escaped(path: Path) -> str:
    return shown(str(path).encode("unicode_escape").decode("ascii"))


def _parse(path: Path, content: bytes) -> Manifest:
    """Read a manifest strictly: the bytes must be the ones that we would write."""
    file = shown(path / MANIFEST)
    if len(content) > _MOST:
        raise SealError(f"{file}: is larger than the {_MOST:,} bytes that a manifest may have")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SealError(f"{file}: is not valid JSON: truncated or altered") from error
    if not isinstance(value, dict) or value.keys() != _KEYS:
        raise SealError(f"{file}: is not the manifest of a sealed directory")
    if value["format"] != _FORMAT:
        raise SealError(
            f"{file}: has format {_quoted(value['format'])}; this program reads {_FORMAT}"
        )
    try:
        _check_depth(value["config"])
        manifest = Manifest(
            kind=_word(value["kind"]),
            inputs={_word(name): _word(digest) for name, digest in value["inputs"].items()},
            config=dict(value["config"].items()),
            files=tuple(_file_entry(entry) for entry in value["files"]),
        )
        paths = [entry.path for entry in manifest.files]
        well_formed = paths == sorted(set(paths)) and manifest.to_bytes() == content
        said = len(canonical_json([manifest.inputs, manifest.config]))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise SealError(f"{file}: is malformed: {shown(error)}") from error
    if not well_formed:
        raise SealError(f"{file}: is altered: it is not in canonical form")
    if said > _MOST_SAID:
        raise SealError(
            f"{file}: says {said:,} bytes besides its list of files, and may say {_MOST_SAID:,}"
        )
    return manifest


def _check_depth(value: JSON) -> None:
    level: list[JSON] = [value]
    for _ in range(_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise ValueError(f"its configuration has more than {_DEPTH} levels")


def _inside(value: JSON) -> Iterable[JSON]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _file_entry(value: dict[str, JSON]) -> FileEntry:
    path, size, digest = value["path"], value["size"], value["sha256"]
    if not isinstance(path, str) or path == MANIFEST or not _is_path(path):
        raise ValueError(f"path {_quoted(path)}")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 2**63:
        raise ValueError(f"size {_quoted(size)} of {path}")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ValueError(f"SHA-256 {_quoted(digest)} of {path}")
    return FileEntry(path, size, digest)


def _is_path(path: str) -> bool:
    return len(path) < 4096 and all(_NAME.fullmatch(name) for name in path.split("/"))


def _word(value: JSON) -> str:
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise ValueError(f"{_quoted(value)} where a name or digest is needed")
    return value


def _quoted(value: JSON) -> str:
    """A value for a message. What is not text may be as deep and long as it likes."""
    if isinstance(value, str):
        return repr(shown(value))
    return repr(value) if value is None or isinstance(value, bool | float) else type(value).__name__
