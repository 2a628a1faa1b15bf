"""Pushes an image layout to a registry.

    push --layout DIR --repository HOST/REPO [--tag T]... [--attach FILE:ARTIFACT_TYPE[:MEDIA_TYPE]]...

Only blobs that the repository lacks are moved, and every blob of the layout is checked against its digest, whether it
moves or not. Then the manifest is stored under its digest and read back; then come attachments; tags are last, so
that whatever fails leaves them where they were. The last line on standard output is
`pushed HOST/REPO@sha256:… N blobs, M bytes moved`.
"""

import argparse
import json
import pathlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tools.oci import errors, paths
from tools.oci.distribution import references
from tools.oci.distribution.client import Registry, Retries
from tools.oci.distribution.references import Reference
from tools.oci.distribution.referrers import Artifact, attach
from tools.oci.distribution.transfers import Progress, in_parallel
from tools.oci.distribution.uploads import Source, upload
from tools.oci.errors import ImageError
from tools.oci.image import layout
from tools.oci.image.layout import Descriptor, Layout

_MEDIA_TYPE = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*"  # RFC 6838
_ATTACHMENT = re.compile(
    rf"(?P<file>.+?):(?P<artifact>{_MEDIA_TYPE})(?::(?P<media>{_MEDIA_TYPE}))?"
)


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    Attributes:
        image: descriptor of the manifest.
        moved: the blobs of the image that the repository lacked.
        attached: manifests of the attachments.
        size: bytes of all blobs of the image, which a machine without any of them fetches.
    """

    image: Descriptor
    size: int
    moved: tuple[Descriptor, ...]
    attached: tuple[Descriptor, ...]

    @property
    def bytes_moved(self) -> int:
        """The size of what was moved."""
        return sum(descriptor.size for descriptor in self.moved)


def push(
    registry: Registry,
    repository: str,
    source: pathlib.Path,
    *,
    tags: Sequence[str] = (),
    attachments: Sequence[Artifact] = (),
    chunk_bytes: int | None = None,
) -> Pushed:
    """Pushes the image of a layout.

    Args:
        registry: with the actions `pull,push`.
        source: the layout.
        chunk_bytes: the most that one request carries; None for no bound.
    Raises:
        ImageError: the layout is damaged, the registry refuses or cannot be reached, or it gives back another
            manifest. No tag was moved then, unless storing the tags is what failed.
    """
    image = Layout.open(source)
    _check_sizes(image)
    encoded = image.blob(image.image.digest).read_bytes()
    progress = Progress("pushed")

    def move(descriptor: Descriptor) -> Descriptor | None:
        path = image.blob(descriptor.digest)
        if registry.has_blob(repository, descriptor.digest):
            if layout.sha256_file(path) != descriptor.digest:
                raise ImageError(f"{source}: {descriptor.digest} has other content")
            return None
        upload(
            registry,
            repository,
            Source(descriptor, path),
            progress.meter(descriptor),
            chunk_bytes,
        )
        return descriptor

    blobs = {blob.digest: blob for blob in image.blobs}.values()
    largest_first = sorted(blobs, key=lambda blob: -blob.size)
    moved = tuple(each for each in in_parallel(move, largest_first, progress) if each)
    registry.put_manifest(repository, image.image.digest, encoded, image.image.media_type)
    _read_back(registry, repository, image.image.digest, image.image)
    attached = tuple(
        attach(registry, repository, image.image, attachment) for attachment in attachments
    )
    tag_image(registry, repository, image, tags)
    size = sum(blob.size for blob in largest_first)
    return Pushed(image.image, size, moved, attached)


def tag_image(registry: Registry, repository: str, image: Layout, tags: Sequence[str]) -> None:
    """Gives an image that the repository has its tags.

    Raises:
        ImageError: the registry refuses, or does not give the image back.
    """
    encoded = image.blob(image.image.digest).read_bytes()
    for tag in tags:
        registry.put_manifest(repository, tag, encoded, image.image.media_type)
        _read_back(registry, repository, tag, image.image)


def attachment(text: str) -> Artifact:
    """Reads `FILE:ARTIFACT_TYPE[:MEDIA_TYPE]`; the file's format is the artifact's type if it is not said.

    Raises:
        ImageError: it is something else, or the file cannot be read.
    """
    matched = _ATTACHMENT.fullmatch(text)
    if not matched:
        raise ImageError(f"{text!r} is not FILE:ARTIFACT_TYPE[:MEDIA_TYPE]")
    artifact_type = matched["artifact"]
    path = paths.given(matched["file"])
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from error
    return Artifact(artifact_type, matched["media"] or artifact_type, content)


def _check_sizes(image: Layout) -> None:
    for descriptor in (*image.blobs, image.image):
        path = image.blob(descriptor.digest)
        if not path.is_file():
            raise ImageError(f"{image.path}: {descriptor.digest} is missing")
        if path.stat().st_size != descriptor.size:
            raise ImageError(f"{image.path}: {descriptor.digest} has other content")


def _read_back(registry: Registry, repository: str, reference: str, image: Descriptor) -> None:
    stored = registry.manifest(repository, reference)
    if stored is None or stored.descriptor.digest != image.digest:
        raise ImageError(
            f"{registry.host}/{repository}: the registry took {image.digest} as {reference}"
            " and does not give it back"
        )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1 is wanted")
    return number


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what every command that pushes asks for."""
    parser.add_argument("--layout", required=True, type=paths.given, help="the image layout")
    parser.add_argument("--repository", required=True, metavar="HOST[:PORT]/REPOSITORY")
    parser.add_argument("--tag", action="append", default=[], help="may be given again")
    parser.add_argument(
        "--attach",
        action="append",
        default=[],
        metavar="FILE:ARTIFACT_TYPE[:MEDIA_TYPE]",
        help="a document that refers to the image; may be given again",
    )
    parser.add_argument("--plain-http", action="store_true", help="no TLS; a loopback needs none")
    parser.add_argument("--chunk-bytes", type=_positive, help="the most that one request carries")
    parser.add_argument("--attempts", type=int, default=5, help="of each request (default: 5)")
    parser.add_argument("--json", action="store_true", help="the last line is a JSON object")


def connect(given: argparse.Namespace, target: Reference) -> Registry:
    """The registry of a command line."""
    retries = Retries(attempts=given.attempts)
    return Registry(target.host, actions="pull,push", plain_http=given.plain_http, retries=retries)


def say(given: argparse.Namespace, target: Reference, pushed: Pushed) -> None:
    """Prints the last line."""
    name = f"{target.name}@{pushed.image.digest}"
    if given.json:
        line = {
            "image": name,
            "digest": pushed.image.digest,
            "tags": given.tag,
            "bytes": pushed.size,
            "blobs_moved": len(pushed.moved),
            "bytes_moved": pushed.bytes_moved,
            "attached": [descriptor.digest for descriptor in pushed.attached],
        }
        print(json.dumps(line, sort_keys=True))
    else:
        print(f"pushed {name} {len(pushed.moved)} blobs, {pushed.bytes_moved} bytes moved")


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="push", description="Pushes an image to a registry.")
    arguments(parser)
    given = parser.parse_args(argv)
    target = references.parse_repository(given.repository)
    tags = [references.check_tag(tag) for tag in given.tag]
    attachments = [attachment(text) for text in given.attach]
    with connect(given, target) as registry:
        pushed = push(
            registry,
            target.repository,
            given.layout,
            tags=tags,
            attachments=attachments,
            chunk_bytes=given.chunk_bytes,
        )
    say(given, target, pushed)


if __name__ == "__main__":
    errors.run(main)
