"""What is attached to an image: artifacts whose manifest names it as `subject`.

Follows the OCI Distribution Specification 1.1 ("Pushing Manifests with Subject", "Listing Referrers"). A registry that
keeps no list of referrers gets one as an image index under the tag `sha256-<digest>`.
"""

import json
from collections.abc import Mapping
from typing import Any

from tools.oci import layout
from tools.oci.errors import ImageError
from tools.oci.layout import Descriptor
from tools.oci.registry import Manifest, Registry
from tools.oci.transport import Request
from tools.oci.uploads import Source, upload

_NOTHING = b"{}"  # the content of the empty descriptor


def attach(  # noqa: PLR0917 -- the parts of an artifact, in the order of its manifest
    registry: Registry,
    repository: str,
    subject: Descriptor,
    artifact_type: str,
    content: bytes,
    media_type: str,
    annotations: Mapping[str, str],
) -> Descriptor:
    """Attaches a document, such as a bill of materials or a signature, to an image.

    The artifact is a function of the arguments alone, so attaching twice changes nothing.

    Args:
        registry: with the actions `pull,push`.
        subject: the image's manifest.
        artifact_type: what the document is, a media type.
        media_type: the format of `content`.
        annotations: of the artifact's manifest.
    Returns:
        The artifact's manifest.
    """
    document = layout.describe(media_type, content)
    empty = layout.describe(layout.EMPTY, _NOTHING)
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": layout.MANIFEST,
        "artifactType": artifact_type,
        "config": empty.to_json(),
        "layers": [document.to_json()],
        # The subject is what it is, wherever it was described.
        "subject": Descriptor(subject.media_type, subject.digest, subject.size).to_json(),
    }
    if annotations:
        manifest["annotations"] = dict(annotations)
    for descriptor, blob in ((document, content), (empty, _NOTHING)):
        if not registry.has_blob(repository, descriptor.digest):
            upload(registry, repository, Source(descriptor, blob), lambda _: None)
    encoded = layout.canonical_json(manifest)
    artifact = layout.describe(layout.MANIFEST, encoded)
    listed = registry.put_manifest(repository, artifact.digest, encoded, layout.MANIFEST)
    if not listed:
        entry = {**artifact.to_json(), "artifactType": artifact_type}
        if annotations:
            entry["annotations"] = dict(annotations)
        _enter(registry, repository, subject.digest, entry)
    return artifact


def referrers(registry: Registry, repository: str, digest: str) -> list[dict[str, Any]]:
    """Descriptors (JSON) of the artifacts attached to an image, in the registry's order.

    Raises:
        ImageError: the registry's list is not an image index.
    """
    request = Request("GET", registry.url(repository, f"referrers/{digest}"))

    def ask() -> bytes | None:
        with registry.try_once(repository, request, (200, 404)) as response:
            content = response.document()
        return content if response.status == 200 else None

    content = registry.retrying(ask)
    if content is not None:
        return _entries(content, f"{registry.host}/{repository}: its list of referrers")
    return _fallback(registry, repository, digest)


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
