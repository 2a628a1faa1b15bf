"""Debian packages as files of an image: no dpkg, no maintainer scripts.

A .deb is an `ar` archive of `debian-binary`, `control.tar.*` and `data.tar.*` (deb(5)). What maintainer scripts would
do and an image needs is done here: /lib and its kin are links into /usr, and certificates are one bundle.
"""

import email.parser
import hashlib
import io
import pathlib
import re
import tarfile
from collections.abc import Iterable, Iterator
from email.message import Message

from tools.oci.errors import ImageError
from tools.oci.layers.layer import Entry, Package, Tree, directory, file, symlink

_MAGIC = b"!<arch>\n"
_HEADER = 60
_MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
_OPEN_TO_ALL = ("tmp", "var/tmp")
_BUNDLE = "etc/ssl/certs/ca-certificates.crt"
_AUTHORITIES = "usr/share/ca-certificates/"

# Nobody reads these in a container. Copyright files stay: licences ask for that.
_LEFT_OUT = re.compile(
    r"usr/share/(man|info|lintian|locale|bug|doc-base|menu|pixmaps|applications|bash-completion)/"
    r"|usr/share/doc/(?!.*/copyright$)|etc/(init\.d|cron\.\w+|apt|dpkg)/|usr/share/zoneinfo/(right|posix)/"
)


def _members(deb: pathlib.Path) -> Iterator[tuple[str, bytes]]:
    content = deb.read_bytes()
    if not content.startswith(_MAGIC):
        raise ImageError(f"{deb.name} is not a Debian package")
    at = len(_MAGIC)
    while at + _HEADER <= len(content):
        name = content[at : at + 16].decode().strip().rstrip("/")
        size = int(content[at + 48 : at + 58])
        at += _HEADER
        yield name, content[at : at + size]
        at += size + size % 2


def _archive(deb: pathlib.Path, part: str) -> tarfile.TarFile:
    for name, content in _members(deb):
        if name.startswith(f"{part}.tar"):
            if name.endswith(".zst"):
                raise ImageError(f"{deb.name} is compressed with zstd, which Debian 12 does not do")
            return tarfile.open(fileobj=io.BytesIO(content))
    raise ImageError(f"{deb.name} has no {part}.tar")


def control(deb: pathlib.Path) -> Message:
    """The fields of a package (deb-control(5))."""
    with _archive(deb, "control") as archive:
        for member in archive:
            if member.name in ("./control", "control"):
                reader = archive.extractfile(member)
                assert reader is not None  # it is a file
                return email.parser.BytesParser().parsebytes(reader.read())
    raise ImageError(f"{deb.name} has no control file")


def usr_merged(path: str) -> str:
    """Where a path lies once /bin, /lib and /sbin are links into /usr."""
    head = path.partition("/")[0]
    return f"usr/{path}" if head in _MERGED else path


def unpacked(deb: pathlib.Path) -> Iterator[Entry]:
    """The files, links and special directories of a package, less documentation.

    Raises:
        ImageError: it is no Debian package, or holds what an image cannot (a device, a set-user-ID program).
    """
    links: list[tuple[str, str]] = []
    files: dict[str, Entry] = {}
    with _archive(deb, "data") as archive:
        for member in archive:
            path = member.name.removeprefix("./").strip("/")
            if path in ("", ".") or _LEFT_OUT.match(f"{path}/" if member.isdir() else path):
                continue
            path = usr_merged(path)
            if member.isdir():
                if path != "usr" and path.removeprefix("usr/") not in _MERGED:
                    yield directory(path, 0o1777 if path in _OPEN_TO_ALL else member.mode & 0o755)
            elif member.issym():
                yield symlink(path, member.linkname)
            elif member.islnk():
                links.append((path, usr_merged(member.linkname.removeprefix("./"))))
            elif member.isfile():
                if member.mode & 0o6000:
                    raise ImageError(f"{deb.name}: /{path} changes its user when it is run")
                reader = archive.extractfile(member)
                assert reader is not None  # it is a file
                files[path] = file(path, reader.read(), bool(member.mode & 0o100))
            else:
                raise ImageError(f"{deb.name}: /{path} is neither file, directory nor link")
    yield from files.values()
    for path, target in links:
        yield file(path, files[target].content, bool(files[target].mode & 0o100))


def packages(debs: Iterable[pathlib.Path]) -> Tree:
    """The files of Debian packages, and for scanners what they are (`/var/lib/dpkg/status.d`).

    Raises:
        ImageError: see `unpacked`.
    """
    tree = Tree()
    for deb in debs:
        fields = control(deb)
        name = str(fields["Package"])
        entries = list(unpacked(deb))
        tree.entries.extend(entries)
        tree.entries.append(file(f"var/lib/dpkg/status.d/{name}", fields.as_bytes()))
        sums = [
            f"{hashlib.md5(entry.content, usedforsecurity=False).hexdigest()}  {entry.path}\n"
            for entry in entries
            if entry.kind == "file" and isinstance(entry.content, bytes)
        ]
        tree.entries.append(file(f"var/lib/dpkg/status.d/{name}.md5sums", "".join(sums).encode()))
        tree.packages.append(
            Package(
                type="deb",
                name=name,
                version=str(fields["Version"]),
                sha256=hashlib.sha256(deb.read_bytes()).hexdigest(),
                architecture=str(fields["Architecture"]),
                source=str(fields["Source"] or name).partition(" ")[0],
            )
        )
    tree.entries.extend(symlink(name, f"usr/{name}") for name in ("bin", "lib", "lib64", "sbin"))
    tree.entries.extend(directory(f"usr/{name}") for name in ("bin", "lib", "lib64", "sbin"))
    return tree


def certificate_bundle(entries: Iterable[Entry]) -> list[Entry]:
    """All certificate authorities in one file, as update-ca-certificates writes it, where OpenSSL looks for it.

    Raises:
        ImageError: there are none.
    """
    found = sorted(
        (entry.path, entry.content)
        for entry in entries
        if entry.path.startswith(_AUTHORITIES) and isinstance(entry.content, bytes)
    )
    bundle = b"".join(content for path, content in found if path.endswith(".crt"))
    if not bundle:
        raise ImageError("no package brings certificate authorities")
    return [file(_BUNDLE, bundle), symlink("usr/lib/ssl/cert.pem", f"/{_BUNDLE}")]
