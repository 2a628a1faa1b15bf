"""The file system of an image as data, so that two images can be compared file by file.

Read from a layout by applying its layers in memory (OCI Image Format Specification 1.1, layer.md: whiteouts too), or
from a directory where an engine has it mounted or unpacked.
"""

import hashlib
import marshal
import os
import pathlib
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO

from tools.oci.errors import ImageError
from tools.oci.image.layout import Layout

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_PYC_HEADER = 16
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Node:
    """What lies at a path.

    Attributes:
        kind: file, directory or symlink.
        mode: permission bits; those of a symlink mean nothing and are 0.
        content: SHA-256 of a file, target of a symlink.
    """

    kind: str
    mode: int
    content: str = ""


Rootfs = Mapping[str, Node]
"""Nodes by their paths without a leading slash."""


def from_layout(layout: pathlib.Path, under: str = "") -> dict[str, Node]:
    """What an image's layers make together.

    Args:
        under: only this directory of the image, without a leading slash, and all below it.
    Raises:
        ImageError: it is not a layout with one image, or a layer is damaged or compressed in a way not read here.
    """
    opened = Layout.open(layout)
    nodes: dict[str, Node] = {}
    for layer in opened.layers:
        try:
            with tarfile.open(opened.blob(layer.digest), "r|*") as archive:
                _apply(archive, nodes, under)
        except (OSError, tarfile.TarError) as error:
            raise ImageError(f"layer {layer.digest} cannot be read: {error}") from error
    return nodes


def from_directory(root: pathlib.Path, under: str = "") -> dict[str, Node]:
    """What lies in a directory; `under` as for `from_layout`."""
    nodes = {}
    for folder, folders, files in os.walk(root / under):
        for name in ("", *folders, *files) if folder == str(root / under) else (*folders, *files):
            path = pathlib.Path(folder, name)
            found = path.lstat()
            mode = stat.S_IMODE(found.st_mode)
            shown = path.relative_to(root).as_posix()
            if stat.S_ISLNK(found.st_mode):
                nodes[shown] = Node("symlink", 0, os.readlink(path))
            elif stat.S_ISDIR(found.st_mode):
                nodes[shown] = Node("directory", mode)
            elif stat.S_ISREG(found.st_mode):
                with path.open("rb") as file:
                    nodes[shown] = Node("file", mode, _content(shown, file))
    nodes.pop(".", None)
    return nodes


def differences(one: Rootfs, two: Rootfs) -> list[str]:
    """How two file systems differ in content, mode and link targets, a line each, by path; empty if they do not.

    Byte code is the same if it is of the same source and does the same: how the marshalled form shares equal strings
    depends on what the process compiled before, and says nothing.
    """
    found = []
    for path in sorted(one.keys() | two.keys()):
        left, right = one.get(path), two.get(path)
        if left is None or right is None:
            found.append(f"/{path} is only in the {'second' if left is None else 'first'}")
        elif left.kind != right.kind:
            found.append(f"/{path} is a {left.kind} and a {right.kind}")
        elif left.mode != right.mode:
            found.append(f"/{path} has the modes {left.mode:04o} and {right.mode:04o}")
        elif left.content != right.content and left.kind == "symlink":
            found.append(f"/{path} points to {left.content} and to {right.content}")
        elif left.content != right.content:
            found.append(f"/{path} has different content")
    return found


def _apply(archive: tarfile.TarFile, nodes: dict[str, Node], under: str) -> None:
    for member in archive:
        path = os.path.normpath(member.name).lstrip("/")
        folder, name = os.path.split(path)
        if name == _OPAQUE:
            _remove(nodes, _below(nodes, folder))
        elif name.startswith(_WHITEOUT):
            gone = os.path.join(folder, name.removeprefix(_WHITEOUT))
            _remove(nodes, [gone, *_below(nodes, gone)])
        elif path != "." and (path == under or path.startswith(f"{under}/" if under else "")):
            node = _node(archive, member, nodes)
            if node and node.kind != "directory":
                _remove(nodes, _below(nodes, path))
            if node:
                nodes[path] = node


def _below(nodes: Rootfs, folder: str) -> list[str]:
    return [path for path in nodes if path.startswith(f"{folder}/")]


def _remove(nodes: dict[str, Node], paths: list[str]) -> None:
    for path in paths:
        nodes.pop(path, None)


def _node(archive: tarfile.TarFile, member: tarfile.TarInfo, nodes: Rootfs) -> Node | None:
    """The node that a member makes; None for devices and their like."""
    mode = member.mode & 0o7777
    if member.issym():
        return Node("symlink", 0, member.linkname)
    if member.isdir():
        return Node("directory", mode)
    if member.islnk():
        return nodes.get(os.path.normpath(member.linkname).lstrip("/"))
    file = archive.extractfile(member)
    return Node("file", mode, _content(member.name, file)) if file else None


def _content(path: str, file: IO[bytes]) -> str:
    if not path.endswith(".pyc"):
        digest = hashlib.sha256()
        while block := file.read(_BLOCK):
            digest.update(block)
        return digest.hexdigest()
    return hashlib.sha256(b"".join(_canonical_byte_code(file.read()))).hexdigest()


def _canonical_byte_code(content: bytes) -> Iterator[bytes]:
    """The header of PEP 552 as it is, and the code without references: marshal's format 2 has none."""
    yield content[:_PYC_HEADER]
    try:
        yield marshal.dumps(marshal.loads(content[_PYC_HEADER:]), 2)
    except (EOFError, TypeError, ValueError):
        yield content[_PYC_HEADER:]  # another interpreter's, or damaged: then every byte counts
