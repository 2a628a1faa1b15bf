"""OCI image layouts: directories with `oci-layout`, `index.json` and `blobs/sha256/`.

Follows the OCI Image Format Specification 1.1 (image-layout.md, descriptor.md, manifest.md).
"""

import hashlib
import json
import os
import pathlib
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tools.oci.errors import ImageError

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
EMPTY = "application/vnd.oci.empty.v1+json"
REF_NAME = "org.opencontainers.image.ref.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Descriptor:
    """What points to a blob: its media type, digest (`sha256:…`) and size in bytes."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The descriptor as the specification spells it."""
        content: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size,
        }
        if self.annotations:
            content["annotations"] = dict(self.annotations)
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Descriptor":
        """Reads one.

        Raises:
            ImageError: a field is missing, or the digest is not a SHA-256.
        """
        try:
            read = cls(
                str(content["mediaType"]),
                str(content["digest"]),
                int(content["size"]),
                dict(content.get("annotations", {})),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ImageError(f"not a descriptor: {content!r}") from error
        if not _DIGEST.fullmatch(read.digest):
            raise ImageError(f"not a digest: {read.digest!r}")
        return read


def canonical_json(content: Mapping[str, Any]) -> bytes:
    """The bytes of a JSON document: sorted keys, no space, UTF-8."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256_file(path: pathlib.Path) -> str:
    """`sha256:…` of a file."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def describe(media_type: str, content: bytes, **annotations: str) -> Descriptor:
    """The descriptor of a blob in memory."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Descriptor(media_type, digest, len(content), annotations)


@dataclass(frozen=True)
class Layout:
    """An image layout that holds one image.

    Attributes:
        image: descriptor of its manifest.
        manifest: the manifest's content.
        config: the content of the image's configuration.
    """

    path: pathlib.Path
    image: Descriptor
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]

    @classmethod
    def open(cls, path: pathlib.Path) -> "Layout":
        """Reads a layout; its blobs are not hashed (see `problems`), those read here are.

        Raises:
            ImageError: it is not a layout with one image.
        """
        index = _read_json(path / "index.json", path)
        images = [Descriptor.from_json(entry) for entry in index.get("manifests", [])]
        if len(images) != 1:
            raise ImageError(f"{path} holds {len(images)} images, not one")
        manifest = _read_blob(path, images[0])
        config = _read_blob(path, Descriptor.from_json(manifest.get("config", {})))
        return cls(path, images[0], manifest, config)

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """Descriptors of the layers, the lowest first."""
        return tuple(Descriptor.from_json(entry) for entry in self.manifest["layers"])

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Every blob that a registry needs before the manifest: layers, the lowest first, then the configuration."""
        return (*self.layers, Descriptor.from_json(self.manifest["config"]))

    def blob(self, digest: str) -> pathlib.Path:
        """Where the blob of a digest lies."""
        return blob_path(self.path, digest)

    def problems(self) -> list[str]:
        """What does not agree with its digest or size, a line each; hashes everything."""
        found = []
        for descriptor in (*self.blobs, self.image):
            path = self.blob(descriptor.digest)
            if not path.is_file():
                found.append(f"{descriptor.digest} is missing")
            elif path.stat().st_size != descriptor.size or sha256_file(path) != descriptor.digest:
                found.append(f"{descriptor.digest} has other content")
        return found


def blob_path(layout: pathlib.Path, digest: str) -> pathlib.Path:
    """Where the blob of a digest lies in a layout."""
    algorithm, _, hexadecimal = digest.partition(":")
    return layout / "blobs" / algorithm / hexadecimal


def _read_json(path: pathlib.Path, layout: pathlib.Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ImageError(f"{layout} is not an image layout: {path.name}: {error}") from error
    if not isinstance(content, dict):
        raise ImageError(f"{layout} is not an image layout: {path.name} is not an object")
    return content


def _read_blob(layout: pathlib.Path, descriptor: Descriptor) -> dict[str, Any]:
    path = blob_path(layout, descriptor.digest)
    if path.is_file() and sha256_file(path) != descriptor.digest:
        raise ImageError(f"{layout}: {descriptor.digest} has other content")
    return _read_json(path, layout)


def _link(source: pathlib.Path, target: pathlib.Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or a sandbox's other mount of the same one
        shutil.copyfile(source, target)


def write_layout(
    path: pathlib.Path,
    image: Descriptor,
    files: Mapping[str, pathlib.Path],
    contents: Mapping[str, bytes],
) -> None:
    """Writes an image layout.

    Args:
        path: an empty directory, or none yet.
        image: descriptor of the manifest.
        files: digest to file for blobs that exist; linked where the file system can.
        contents: digest to content for the others.
    """
    blobs = path / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    for digest, source in files.items():
        _link(source, blob_path(path, digest))
    for digest, content in contents.items():
        blob_path(path, digest).write_bytes(content)
    (path / "oci-layout").write_bytes(canonical_json({"imageLayoutVersion": "1.0.0"}))
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [image.to_json()]}
    (path / "index.json").write_bytes(canonical_json(index))
