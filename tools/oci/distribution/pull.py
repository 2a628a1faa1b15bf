"""Pulls an image from a registry into an image layout.

    pull HOST/REPO@sha256:… --out DIR [--platform OS/ARCHITECTURE[/VARIANT]]

Everything is checked against its digest. The layout appears whole, by one rename, or not at all; what came before a
connection was lost stays in a hidden directory beside it, and the next pull of the same image goes on there.
The last line on standard output is `pulled HOST/REPO@sha256:… N blobs, M bytes moved`.
"""

import argparse
import fcntl
import json
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

from tools.oci import errors, paths
from tools.oci.distribution import references
from tools.oci.distribution.client import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    Manifest,
    Registry,
    Retries,
    Unavailable,
)
from tools.oci.distribution.downloads import download
from tools.oci.distribution.references import Reference
from tools.oci.distribution.transfers import Progress, in_parallel
from tools.oci.errors import ImageError
from tools.oci.image import layout
from tools.oci.image.layout import Descriptor


def pull(
    registry: Registry, reference: Reference, out: pathlib.Path, platform: str | None = None
) -> tuple[Descriptor, tuple[Descriptor, ...]]:
    """Pulls one image.

    Args:
        reference: with a tag, a digest, or both; the digest counts.
        out: the layout to be, absent or empty.
        platform: `OS/ARCHITECTURE[/VARIANT]`; needed where an index has images for several.
    Returns:
        The image's manifest, and the blobs that were moved now.
    Raises:
        Unavailable: the connection broke, or the registry was busy, too often.
        ImageError: there is no such image, the registry refuses, or content does not have its digest.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ImageError(f"{out} is there already")
    manifest = _manifest(registry, reference, platform)
    try:
        content = json.loads(manifest.content)
        config = Descriptor.from_json(content["config"])
        layers = [Descriptor.from_json(entry) for entry in content["layers"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ImageError(f"{reference} is no image") from error
    beside = out.absolute().with_name(f".{out.name}.{manifest.descriptor.digest[7:19]}.partial")
    blobs = beside / "blobs" / "sha256"
    try:
        blobs.mkdir(parents=True, exist_ok=True)
        with (beside / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            moved = _complete(registry, reference.repository, beside, manifest, (config, *layers))
            if platform is not None:
                _check_platform(layout.blob_path(beside, config.digest), platform, reference)
            (beside / "lock").unlink()
            out.parent.mkdir(parents=True, exist_ok=True)
            beside.rename(out)
    except BlockingIOError as error:
        raise ImageError(f"another pull is writing {out}") from error
    except Unavailable as error:
        raise Unavailable(f"{error}; what came is kept for the next pull") from error
    except OSError as error:
        _remove(beside)
        raise ImageError(f"{out}: {error.strerror}") from error
    except ImageError:
        _remove(beside)
        raise
    return manifest.descriptor, moved


def _manifest(registry: Registry, reference: Reference, platform: str | None) -> Manifest:
    """The image's manifest; of an index, that of the platform."""
    asked = reference.digest or reference.tag
    if asked is None:
        raise ImageError(f"{reference} has neither tag nor digest")
    found = registry.manifest(reference.repository, asked)
    if found is None:
        raise ImageError(f"{reference}: the registry has no such image")
    if found.descriptor.media_type in (layout.INDEX, DOCKER_INDEX):
        chosen = _choose(found.content, platform, reference)
        found = registry.manifest(reference.repository, chosen)
        if found is None:
            raise ImageError(f"{reference}: the index names {chosen}, which is not there")
    if found.descriptor.media_type not in (layout.MANIFEST, DOCKER_MANIFEST):
        raise ImageError(f"{reference} is no image but {found.descriptor.media_type}")
    return found


def _choose(index: bytes, platform: str | None, reference: Reference) -> str:
    """The digest of a platform's image in an index."""
    try:
        entries = json.loads(index)["manifests"]
        images = {
            Descriptor.from_json(entry).digest: _platform(entry.get("platform") or {})
            for entry in entries
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ImageError(f"{reference} is no index of images") from error
    # Attestations stand in an index as images of an unknown platform.
    images = {digest: name for digest, name in images.items() if not name.startswith("unknown")}
    fitting = [
        digest for digest, name in images.items() if platform is None or _fits(name, platform)
    ]
    if len(fitting) != 1:
        names = ", ".join(sorted(images.values()))
        raise ImageError(f"{reference} has images for {names}: choose one with --platform")
    return fitting[0]


def _platform(described: dict[str, Any]) -> str:
    parts = (described.get(key) for key in ("os", "architecture", "variant"))
    return "/".join(str(part) for part in parts if part) or "any"


def _fits(name: str, wanted: str) -> bool:
    return name == wanted or name.startswith(f"{wanted}/")


def _complete(
    registry: Registry,
    repository: str,
    beside: pathlib.Path,
    manifest: Manifest,
    blobs: Sequence[Descriptor],
) -> tuple[Descriptor, ...]:
    """Fetches what a half-written layout lacks; returns the blobs that were not whole yet."""
    progress = Progress("pulled")

    def move(descriptor: Descriptor) -> Descriptor | None:
        target = layout.blob_path(beside, descriptor.digest)
        if target.is_file():
            return None
        partial = target.with_name(f"{target.name}.partial")
        download(registry, repository, descriptor, partial, progress.meter(descriptor))
        partial.rename(target)
        return descriptor

    unique = {blob.digest: blob for blob in blobs}.values()
    largest_first = sorted(unique, key=lambda blob: -blob.size)
    moved = tuple(each for each in in_parallel(move, largest_first, progress) if each)
    layout.write_layout(
        beside, manifest.descriptor, {}, {manifest.descriptor.digest: manifest.content}
    )
    return moved


def _check_platform(config: pathlib.Path, platform: str, reference: Reference) -> None:
    try:
        name = _platform(json.loads(config.read_bytes()))
    except (ValueError, AttributeError) as error:
        raise ImageError(f"{reference}: its configuration is not JSON") from error
    if not _fits(name, platform):
        raise ImageError(f"{reference} is for {name}, not {platform}")


def _remove(beside: pathlib.Path) -> None:
    shutil.rmtree(beside, ignore_errors=True)


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="pull", description="Pulls an image into a layout.")
    parser.add_argument("image", metavar="HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]")
    parser.add_argument("--out", required=True, type=paths.given, help="the image layout to be")
    parser.add_argument("--platform", metavar="OS/ARCHITECTURE[/VARIANT]", help="of an index")
    parser.add_argument("--plain-http", action="store_true", help="no TLS; a loopback needs none")
    parser.add_argument("--attempts", type=int, default=5, help="of each request (default: 5)")
    parser.add_argument("--json", action="store_true", help="the last line is a JSON object")
    given = parser.parse_args(argv)
    reference = references.parse(given.image)
    retries = Retries(attempts=given.attempts)
    with Registry(reference.host, plain_http=given.plain_http, retries=retries) as registry:
        image, moved = pull(registry, reference, given.out, given.platform)
    size = sum(descriptor.size for descriptor in moved)
    name = f"{reference.name}@{image.digest}"
    if given.json:
        line = {
            "image": name,
            "digest": image.digest,
            "blobs_moved": len(moved),
            "bytes_moved": size,
        }
        print(json.dumps(line, sort_keys=True))
    else:
        print(f"pulled {name} {len(moved)} blobs, {size} bytes moved")


if __name__ == "__main__":
    errors.run(main)
