"""What is attached to an image: artifacts whose manifest names it as `subject`.

Follows the OCI Distribution Specification 1.1 ("Pushing Manifests with Subject", "Listing Referrers"). A registry that
keeps no list of referrers gets one as an image index under the tag `sha256-<digest>`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tools.oci.distribution.client import Manifest, Registry
from tools.oci.distribution.uploads import Source, upload
from tools.oci.errors import ImageError
from tools.oci.image import layout
from tools.oci.image.layout import Descriptor

_NOTHING = b"{}"  # the content of the empty descriptor


@dataclass(frozen=True)
class Artifact:
    """A document to attach to an image, such as a bill of materials or a signature.

    Attributes:
        artifact_type: what it is, a media type.
        media_type: its format.
        annotations: of its descriptor, where signatures are looked for, and of its manifest, which lists show.
    """

    artifact_type: str
    media_type: str
    content: bytes
    annotations: Mapping[str, str] = field(default_factory=dict)


def attach(
    registry: Registry, repository: str, subject: Descriptor, artifact: Artifact
) -> Descriptor:
    """Attaches a document to an image; doing it twice changes nothing.

    Args:
        registry: with the actions `pull,push`.
        subject: the image's manifest.
    Returns:
        The artifact's manifest.
    """
    document = layout.describe(artifact.media_type, artifact.content, **artifact.annotations)
    empty = layout.describe(layout.EMPTY, _NOTHING)
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": layout.MANIFEST,
        "artifactType": artifact.artifact_type,
        "config": empty.to_json(),
        "layers": [document.to_json()],
        # The subject is what it is, wherever it was described.
        "subject": Descriptor(subject.media_type, subject.digest, subject.size).to_json(),
    }
    if artifact.annotations:
        manifest["annotations"] = dict(artifact.annotations)
    for descriptor, blob in ((document, artifact.content), (empty, _NOTHING)):
        if not registry.has_blob(repository, descriptor.digest):
            upload(registry, repository, Source(descriptor, blob), lambda _: None)
    encoded = layout.canonical_json(manifest)
    attached = layout.describe(layout.MANIFEST, encoded)
    listed = registry.put_manifest(repository, attached.digest, encoded, layout.MANIFEST)
    if not listed:
        entry = {**attached.to_json(), "artifactType": artifact.artifact_type}
        if artifact.annotations:
            entry["annotations"] = dict(artifact.annotations)
        _enter(registry, repository, subject.digest, entry)
    return attached


def fallback_tag(digest: str) -> str:
    """The tag of the list of an image's referrers, where the registry keeps none."""
    return digest.replace(":", "-")


def _fallback(registry: Registry, repository: str, digest: str) -> list[dict[str, Any]]:
    tag = fallback_tag(digest)
    listed: Manifest | None = registry.manifest(repository, tag)
    if listed is None:
        return []
    return _entries(listed.content, f"{registry.host}/{repository}:{tag}")


def _entries(content: bytes, name: str) -> list[dict[str, Any]]:
    try:
        index = json.loads(content)
        entries = list(index["manifests"])
    except (ValueError, KeyError, TypeError):
        index, entries = {}, []
    if index.get("mediaType", layout.INDEX) != layout.INDEX or "manifests" not in index:
        raise ImageError(f"{name} is not an image index")
    for entry in entries:
        Descriptor.from_json(entry)
    return entries


def _enter(registry: Registry, repository: str, subject: str, entry: Mapping[str, Any]) -> None:
    """Adds an artifact to the list under the fallback tag; sorted, so that the order of attaching does not show."""
    entries = _fallback(registry, repository, subject)
    if any(known["digest"] == entry["digest"] for known in entries):
        return
    index = {
        "schemaVersion": 2,
        "mediaType": layout.INDEX,
        "manifests": sorted((*entries, entry), key=lambda known: str(known["digest"])),
    }
    encoded = layout.canonical_json(index)
    registry.put_manifest(repository, fallback_tag(subject), encoded, layout.INDEX)
