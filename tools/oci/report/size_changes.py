"""What became larger or smaller between two size reports, and whether an image keeps to its budgets."""

from collections.abc import Mapping
from dataclasses import dataclass

from tools.oci.report.sizes import Sizes

APP = "app"
"""The layer of our own code, which every change of it moves; the last layer, where none has this name."""
APP_BUDGET = 5_000_000
"""Bytes that a change of our code may move, unless another limit is given."""


@dataclass(frozen=True)
class Change:
    """A layer or a package whose bytes changed; None where it is not in that image."""

    name: str
    before: int | None
    after: int | None

    @property
    def difference(self) -> int:
        """Bytes more than before."""
        return (self.after or 0) - (self.before or 0)

    @property
    def kind(self) -> str:
        """One word for it."""
        if self.before is None:
            return "new"
        if self.after is None:
            return "removed"
        return "grown" if self.difference > 0 else "shrunk"


@dataclass(frozen=True)
class Changes:
    """The way from one image to the next, what changed most first.

    Attributes:
        size, blob_size: bytes more than before.
        moved: bytes of blobs that a registry with the old image does not have.
        moved_layers: the layers with these blobs.
    """

    size: int
    blob_size: int
    moved: int
    moved_layers: tuple[str, ...]
    layers: tuple[Change, ...]
    packages: tuple[Change, ...]


@dataclass(frozen=True)
class Budget:
    """A limit in bytes, what was measured, and of what."""

    name: str
    limit: int
    measured: int
    unit: str

    @property
    def kept(self) -> bool:
        """Whether the image keeps to it."""
        return self.measured <= self.limit


def compare(old: Sizes, new: Sizes) -> Changes:
    """What changed from `old` to `new`."""
    there = {layer.digest for layer in old.layers}
    moved = [layer for layer in new.layers if layer.digest not in there]
    return Changes(
        size=new.size - old.size,
        blob_size=new.blob_size - old.blob_size,
        moved=sum(layer.blob_size for layer in moved),
        moved_layers=tuple(layer.name for layer in moved),
        layers=_changes(_layers(old), _layers(new)),
        packages=_changes(_packages(old), _packages(new)),
    )


def budgets(
    sizes: Sizes, total: int | None, layer: int | None, app: int | None
) -> tuple[Budget, ...]:
    """The budgets that were set, each with what was measured.

    Args:
        total, layer: for the whole image and for its largest layer, uncompressed: the same however it is compressed.
        app: for what a change of our code alone moves: the blob of its layer.
    """
    found = []
    if total is not None:
        found.append(Budget("whole image", total, sizes.size, "uncompressed"))
    if layer is not None and sizes.layers:
        largest = max(sizes.layers, key=lambda one: one.size)
        name = f"largest layer ({largest.name})"
        found.append(Budget(name, layer, largest.size, "uncompressed"))
    if app is not None and sizes.layers:
        ours = next((one for one in sizes.layers if one.name == APP), sizes.layers[-1])
        found.append(Budget(f"our code ({ours.name})", app, ours.blob_size, "as pushed"))
    return tuple(found)


def _layers(sizes: Sizes) -> dict[str, int]:
    return {layer.name: layer.size for layer in sizes.layers}


def _packages(sizes: Sizes) -> dict[str, int]:
    return {f"{package.name} ({package.type})": package.size for package in sizes.packages}


def _changes(old: Mapping[str, int], new: Mapping[str, int]) -> tuple[Change, ...]:
    found = [
        Change(name, old.get(name), new.get(name))
        for name in old.keys() | new.keys()
        if old.get(name) != new.get(name)
    ]
    return tuple(sorted(found, key=lambda change: (-abs(change.difference), change.name)))
