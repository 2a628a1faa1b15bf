"""Which package a file of an image belongs to.

A distribution's files are listed in its `RECORD` (the packaging specifications' "Recording installed projects"), a
Debian package's in `/var/lib/dpkg/status.d/NAME.md5sums` or `/var/lib/dpkg/info/NAME.list`. What is listed nowhere,
such as byte code, goes with the folder it lies in when all of that folder is one package's.
"""

import csv
import pathlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_DIST_INFO = re.compile(r"(.*/)?site-packages/([^/]+)\.dist-info/(RECORD|top_level\.txt)")
_DPKG_LIST = re.compile(r"var/lib/dpkg/(?:status\.d|info)/([^/:]+)(?::[^/]+)?\.(md5sums|list)")
_MERGED = re.compile(r"(bin|sbin|lib|lib32|lib64|libx32)/")
_DOCUMENTS = re.compile(r"usr/share/doc/([^/]+)/")


@dataclass(frozen=True, order=True)
class Owner:
    """A package, or what stands in for one.

    Attributes:
        type: `pypi`, `deb`, `own` for a folder of site-packages that no distribution lists, or `other`.
        version: empty where it is not known.
    """

    type: str
    name: str
    version: str = ""


def is_list(path: str) -> bool:
    """Whether a file says what belongs to a package."""
    return bool(_DIST_INFO.fullmatch(path) or _DPKG_LIST.fullmatch(path))


def normalised(name: str) -> str:
    """The name of a distribution as the packaging specifications compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


class Owners:
    """Finds the owner of a file."""

    def __init__(self, lists: Mapping[str, bytes], given: Mapping[str, Iterable[str]]) -> None:
        """
        Args:
            lists: path to content of every file for which `is_list` holds.
            given: `TYPE:NAME` of a package to the absolute paths of its files; these go first.
        """
        self._files: dict[str, Owner] = {}
        self._folders: dict[str, Owner | None] = {}
        for key, paths in given.items():
            kind, _, name = key.partition(":")
            for path in paths:
                self._files[_merged(path.lstrip("/"))] = Owner(kind, name)
        for path, content in sorted(lists.items()):
            text = content.decode("utf-8", "replace")
            if found := _DIST_INFO.fullmatch(path):
                self._claim_distribution(found, text)
            elif found := _DPKG_LIST.fullmatch(path):
                self._claim_debian(found, text, path)

    def of(self, path: str) -> Owner:
        """The owner of a file, given by its path without a leading slash."""
        path = _merged(path)
        if owner := self._files.get(path):
            return owner
        for folder in map(str, pathlib.PurePosixPath(path).parents):
            if owner := self._folders.get(folder):
                return owner
            if folder in self._folders:  # several packages' folder: the ones above it are, too
                break
        return _by_place(path)

    def _claim(self, path: str, owner: Owner, above: str) -> None:
        """A file is a package's; so is every folder on its way from `above` that no other package claims."""
        path = _merged(path)
        self._files.setdefault(path, owner)
        for folder in map(str, pathlib.PurePosixPath(path).parents):
            if not folder.startswith(above):
                break
            if self._folders.setdefault(folder, owner) != owner:
                self._folders[folder] = None

    def _claim_distribution(self, found: re.Match[str], text: str) -> None:
        name, _, version = found[2].partition("-")
        owner = Owner("pypi", normalised(name), version)
        site_packages = found[0].rpartition(f"{found[2]}.dist-info/")[0]
        if found[3] == "RECORD":
            paths = [row[0] for row in csv.reader(text.splitlines()) if row]
        else:
            paths = [f"{line}/{_INSIDE}" for line in text.split()]
        for path in (*paths, f"{found[2]}.dist-info/{_INSIDE}"):
            self._claim(_resolved(site_packages + path), owner, site_packages)

    def _claim_debian(self, found: re.Match[str], text: str, path: str) -> None:
        owner = Owner("deb", found[1])
        self._files[path] = owner
        for line in text.splitlines():
            # `SUM  path` or `/path`
            file = line.split(None, 1)[-1] if found[2] == "md5sums" else line
            if len(pathlib.PurePosixPath(file.lstrip("/")).parts) > 1:
                self._claim(file.lstrip("/"), owner, "usr/share/")


_INSIDE = "*"
"""Stands for a file inside a folder, to claim the folder where the files are not listed."""


def _merged(path: str) -> str:
    """The path in a system whose /bin, /lib and so on are links into /usr, as Debian's are."""
    return f"usr/{path}" if _MERGED.match(path) else path


def _resolved(path: str) -> str:
    """Takes `..` out of a path: a RECORD names programs as `../../../bin/NAME`."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        else:
            parts.append(part)
    return "/".join(parts)


def _by_place(path: str) -> Owner:
    parts = path.split("/")
    if "site-packages" in parts[:-1]:
        below = parts[parts.index("site-packages") + 1]
        return Owner("own", below.removesuffix(".py"))
    if found := _DOCUMENTS.match(path):
        return Owner("deb", found[1])
    return Owner("other", "/" + "/".join(parts[: min(2, len(parts) - 1)]))
