"""How much a machine fetches for an image, from its OCI layout
(https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md)."""

import json
from pathlib import Path
from typing import Any

from retort.core.digest import sha256_bytes
from retort.core.errors import DataError, shown

_MOST = 4 << 20
"""Bytes of a manifest: what registries take."""


def image_bytes(layout: Path, image: str) -> int:
    """Bytes of the layers and the configuration of an image, as they are transferred.

    Args:
        layout: a directory with `oci-layout` and `blobs/sha256/`.
        image: by digest.
    Raises:
        DataError: it is no layout, or has another image.
    """
    manifest = _blob(layout, image.rpartition("@")[2])
    if "manifests" in manifest:  # an index: a machine takes one of them
        return max(_size(_blob(layout, str(one["digest"]))) for one in manifest["manifests"])
    return _size(manifest)


def _blob(layout: Path, digest: str) -> dict[str, Any]:
    file = layout / "blobs" / "sha256" / digest.removeprefix("sha256:")
    if not (layout / "oci-layout").is_file():
        raise DataError(
            f"--layout {shown(layout)}: is not an image layout; give one, or leave it out"
        )
    try:
        with file.open("rb") as opened:
            content = opened.read(_MOST)
    except OSError as error:
        raise DataError(
            f"--layout {shown(layout)}: has no image {digest}, which the job names; give the layout that was pushed"
        ) from error
    if f"sha256:{sha256_bytes(content)}" != digest:
        raise DataError(f"{shown(file)}: is altered: its SHA-256 is not its name")
    found: dict[str, Any] = json.loads(content)
    return found


def _size(manifest: dict[str, Any]) -> int:
    return sum(int(one["size"]) for one in (manifest["config"], *manifest["layers"]))
