"""Small image layouts."""

import hashlib
import pathlib
import random

from tools.oci.image import layout
from tools.oci.image.layout import Descriptor, Layout


def write(
    path: pathlib.Path,
    layers: list[bytes],
    architecture: str = "amd64",
    media_type: str = layout.LAYER,
) -> Layout:
    """Writes an image whose layers have these contents; they need not be tar archives."""
    config = layout.canonical_json(
        {
            "architecture": architecture,
            "os": "linux",
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers],
            },
        }
    )
    blobs = [layout.describe(media_type, layer) for layer in layers]
    configuration = layout.describe(layout.CONFIG, config)
    manifest = layout.canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": layout.MANIFEST,
            "config": configuration.to_json(),
            "layers": [blob.to_json() for blob in blobs],
        }
    )
    image = layout.describe(layout.MANIFEST, manifest)
    contents = dict(zip((blob.digest for blob in blobs), layers, strict=True))
    contents |= {configuration.digest: config, image.digest: manifest}
    layout.write_layout(path, image, {}, contents)
    return Layout.open(path)


def noise(seed: int, size: int) -> bytes:
    """Bytes that no compression makes smaller, the same for a seed."""
    return random.Random(seed).randbytes(size)


def index(images: list[tuple[Descriptor, str]]) -> bytes:
    """An index of images for `OS/ARCHITECTURE[/VARIANT]`."""
    entries = []
    for image, platform in images:
        names = ("os", "architecture", "variant")
        parts = dict(zip(names, platform.split("/"), strict=False))
        entries.append({**image.to_json(), "platform": parts})
    return layout.canonical_json(
        {"schemaVersion": 2, "mediaType": layout.INDEX, "manifests": entries}
    )
