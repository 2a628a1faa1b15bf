"""How large an image is, by layer, by package and by file; the data of the size report."""

import json
import pathlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tools.oci.errors import ImageError
from tools.oci.image.contents import Contents
from tools.oci.image.layout import Layout
from tools.oci.layers.layer_files import File, read_layer
from tools.oci.report.owners import Owner, Owners, is_list, normalised

LAYER_NAME = "org.retort.layer"
_FORMAT = 1
_LARGEST = 25
_LIBRARY = re.compile(r".*\.so(\.\d+)*")
_SMALL_LIBRARY = 64_000


@dataclass(frozen=True)
class LayerSize:
    """A layer: bytes uncompressed, bytes of its blob (what a registry stores and moves), regular files."""

    name: str
    digest: str
    media_type: str
    size: int
    blob_size: int
    files: int


@dataclass(frozen=True)
class PackageSize:
    """A package: bytes of its files in all layers, and their number."""

    type: str
    name: str
    version: str
    size: int
    files: int


@dataclass(frozen=True)
class FileSize:
    """A file, by its absolute path, and the layer it is in."""

    path: str
    size: int
    layer: str


@dataclass(frozen=True)
class Repeated:
    """Shared libraries of one name and size at several places: probably the same one, shipped again."""

    name: str
    size: int
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Sizes:
    """An image measured. Layers from the lowest up; packages, files and repeated libraries from the largest down."""

    image: str
    digest: str
    layers: tuple[LayerSize, ...]
    packages: tuple[PackageSize, ...]
    largest_files: tuple[FileSize, ...]
    repeated: tuple[Repeated, ...]

    @property
    def size(self) -> int:
        """Bytes of all layers, uncompressed."""
        return sum(layer.size for layer in self.layers)

    @property
    def blob_size(self) -> int:
        """Bytes of all layers' blobs."""
        return sum(layer.blob_size for layer in self.layers)

    @property
    def files(self) -> int:
        """Regular files in all layers."""
        return sum(layer.files for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it, with the totals for whoever reads only these."""
        totals = {"size": self.size, "blob_size": self.blob_size, "files": self.files}
        return {"format": _FORMAT, **asdict(self), **totals}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Sizes":
        """Reads what `to_json` gave.

        Raises:
            ImageError: it is something else.
        """
        try:
            if content["format"] != _FORMAT:
                raise ImageError(f"a size report of format {content['format']!r}, not {_FORMAT}")
            return cls(
                content["image"],
                content["digest"],
                tuple(LayerSize(**entry) for entry in content["layers"]),
                tuple(PackageSize(**entry) for entry in content["packages"]),
                tuple(FileSize(**entry) for entry in content["largest_files"]),
                tuple(
                    Repeated(entry["name"], entry["size"], tuple(entry["paths"]))
                    for entry in content["repeated"]
                ),
            )
        except (KeyError, TypeError) as error:
            raise ImageError(f"not a size report: {error!r}") from error


def read_sizes(path: pathlib.Path) -> Sizes:
    """Reads a report that was written as JSON.

    Raises:
        ImageError: it cannot be read, or is something else.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: {error}") from error
    return Sizes.from_json(content)


def measure(
    layout: Layout, contents: Contents | None, packages: Mapping[str, Iterable[str]]
) -> Sizes:
    """Reads every layer of an image once.

    Args:
        contents: what the image should hold; gives versions, and lists packages that have no file.
        packages: `TYPE:NAME` to the absolute paths of its files, for what has no list in the image.
    Raises:
        ImageError: a layer cannot be read.
    """
    names = _layer_names(layout)
    read = [read_layer(layout, layer, is_list) for layer in layout.layers]
    layers = tuple(
        LayerSize(name, blob.digest, blob.media_type, layer.size, blob.size, len(layer.files))
        for name, blob, layer in zip(names, layout.layers, read, strict=True)
    )
    files = [(name, file) for name, layer in zip(names, read, strict=True) for file in layer.files]
    lists = {path: text for layer in read for path, text in layer.texts.items()}
    largest = sorted(files, key=lambda found: (-found[1].size, found[1].path))[:_LARGEST]
    return Sizes(
        image=contents.image if contents else layout.path.name,
        digest=layout.image.digest,
        layers=layers,
        packages=_packages([file for _, file in files], Owners(lists, packages), contents),
        largest_files=tuple(FileSize(f"/{file.path}", file.size, name) for name, file in largest),
        repeated=_repeated(file for _, file in files),
    )


def _layer_names(layout: Layout) -> list[str]:
    """A name for each layer: its annotation, else what the history says made it, else its number."""
    made = [entry for entry in layout.config.get("history", []) if not entry.get("empty_layer")]
    seen: Counter[str] = Counter()
    names = []
    for number, layer in enumerate(layout.layers):
        history = made[number] if number < len(made) else {}
        said = layer.annotations.get(LAYER_NAME) or history.get("comment")
        name = str(said or history.get("created_by") or f"layer {number + 1}")
        seen[name] += 1
        names.append(f"{name} ({seen[name]})" if seen[name] > 1 else name)
    return names


def _packages(
    files: Iterable[File], owners: Owners, contents: Contents | None
) -> tuple[PackageSize, ...]:
    sizes: Counter[tuple[str, str]] = Counter()
    counts: Counter[tuple[str, str]] = Counter()
    versions: dict[tuple[str, str], str] = {}
    for package in contents.packages if contents else ():
        name = normalised(package.name) if package.type == "pypi" else package.name
        versions[package.type, name] = package.version
        sizes[package.type, name] = 0
    for file in files:
        owner: Owner = owners.of(file.path)
        key = (owner.type, owner.name)
        sizes[key] += file.size
        counts[key] += 1
        versions.setdefault(key, owner.version)
    return tuple(
        PackageSize(*key, versions[key], size, counts[key])
        for key, size in sorted(sizes.items(), key=lambda found: (-found[1], found[0]))
    )


def _repeated(files: Iterable[File]) -> tuple[Repeated, ...]:
    places = defaultdict(list)
    for file in files:
        name = file.path.rpartition("/")[2]
        if file.size >= _SMALL_LIBRARY and _LIBRARY.fullmatch(name):
            places[name, file.size].append(f"/{file.path}")
    found = [
        Repeated(name, size, tuple(sorted(paths)))
        for (name, size), paths in places.items()
        if len(paths) > 1
    ]
    return tuple(sorted(found, key=lambda one: (-one.size * (len(one.paths) - 1), one.name)))
