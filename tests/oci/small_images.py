"""Small images made on the spot, for the tests of what reads images."""

import gzip
import hashlib
import io
import pathlib
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import zstandard

from tools.oci.image.layout import (
    CONFIG,
    LAYER,
    MANIFEST,
    Layout,
    canonical_json,
    describe,
    write_layout,
)

_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda tar: tar,
    "+gzip": lambda tar: gzip.compress(tar, mtime=0),
    "+zstd": lambda tar: zstandard.ZstdCompressor().compress(tar),
}


@dataclass(frozen=True)
class SmallLayer:
    """A layer: path to content (a `str` is where a symbolic link points), and how it is compressed."""

    name: str
    files: Mapping[str, bytes | str]
    compression: str = ""
    annotated: bool = True


def tar_of(files: Mapping[str, bytes | str]) -> bytes:
    """An uncompressed layer."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, content in sorted(files.items()):
            header = tarfile.TarInfo(path)
            if isinstance(content, str):
                header.type, header.linkname = tarfile.SYMTYPE, content
                archive.addfile(header)
            else:
                header.size = len(content)
                archive.addfile(header, io.BytesIO(content))
    return stream.getvalue()


def write_image(
    path: pathlib.Path,
    layers: Sequence[SmallLayer],
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Layout:
    """Writes a layout with these layers, the lowest first."""
    contents, entries, diff_ids = {}, [], []
    for layer in layers:
        tar = tar_of(layer.files)
        blob = _COMPRESS[layer.compression](tar)
        named = {"org.retort.layer": layer.name} if layer.annotated else {}
        descriptor = describe(LAYER + layer.compression, blob, **named)
        contents[descriptor.digest] = blob
        entries.append(descriptor.to_json())
        diff_ids.append(f"sha256:{hashlib.sha256(tar).hexdigest()}")
    config = canonical_json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": dict(labels or {})},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created_by": layer.name} for layer in layers],
        }
    )
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": describe(CONFIG, config).to_json(),
            "layers": entries,
            "annotations": dict(annotations or {}),
        }
    )
    image = describe(MANIFEST, manifest)
    contents |= {describe(CONFIG, config).digest: config, image.digest: manifest}
    write_layout(path, image, {}, contents)
    return Layout.open(path)
