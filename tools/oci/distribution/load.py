"""Hands an image layout to Docker or podman, or writes it as one archive.

    load --layout DIR --tag NAME:TAG (--engine docker|podman|auto | --archive FILE)

The archive is an OCI image layout and a `docker save` archive at once: `index.json` and `oci-layout` for readers of
the one, `manifest.json` for readers of the other, and the same blobs for both. Equal images give equal archives.

Layers may be uncompressed or compressed with gzip, which every Docker takes. Docker before 23 does not read zstd;
podman and skopeo do. Docker with containerd's image store finds a name only if it says its host, as in
`localhost/retort/training:dev`; podman, too, puts `localhost/` before a name without one.
"""

import argparse
import contextlib
import io
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from typing import IO

from tools.oci import errors, paths
from tools.oci.errors import ImageError
from tools.oci.image import layout
from tools.oci.image.layout import Layout

_NAME = re.compile(r"[a-z0-9][a-z0-9._:/-]*:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_ENGINES = ("docker", "podman")
_CONTAINERD_NAME = "io.containerd.image.name"


def write_archive(image: Layout, tag: str, stream: IO[bytes]) -> None:
    """Writes the archive: names in order, no times, no owners.

    Raises:
        OSError: the stream cannot be written.
    """
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for name, content in _members(image, tag):
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
            elif isinstance(content, bytes):
                member.size, member.mode = len(content), 0o644
                archive.addfile(member, io.BytesIO(content))
            else:
                member.size, member.mode = content.stat().st_size, 0o644
                with content.open("rb") as file:
                    archive.addfile(member, file)


def _members(image: Layout, tag: str) -> Iterator[tuple[str, pathlib.Path | bytes | None]]:
    """What is in the archive, in its order; None for a directory."""
    yield "blobs", None
    yield "blobs/sha256", None
    for digest in sorted({blob.digest for blob in (*image.blobs, image.image)}):
        yield _path(digest), image.blob(digest)
    names = {_CONTAINERD_NAME: tag, layout.REF_NAME: tag}
    index = {
        "schemaVersion": 2,
        "mediaType": layout.INDEX,
        "manifests": [{**image.image.to_json(), "annotations": names}],
    }
    yield "index.json", layout.canonical_json(index)
    docker = {
        "Config": _path(image.blobs[-1].digest),
        "RepoTags": [tag],
        "Layers": [_path(layer.digest) for layer in image.layers],
    }
    yield "manifest.json", b"[" + layout.canonical_json(docker) + b"]"
    yield "oci-layout", layout.canonical_json({"imageLayoutVersion": "1.0.0"})


def _path(digest: str) -> str:
    return digest.replace("sha256:", "blobs/sha256/")


def save(image: Layout, tag: str, path: pathlib.Path) -> None:
    """Writes the archive to a file, which appears whole or not at all.

    Raises:
        ImageError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            write_archive(image, tag, file)
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise ImageError(f"{path}: {error.strerror}") from error


def choose_engine(wanted: str) -> str:
    """The engine to load into: the one that is wanted, or with `auto` the first that answers.

    Raises:
        ImageError: it does not answer.
    """
    candidates = _ENGINES if wanted == "auto" else (wanted,)
    for engine in candidates:
        if shutil.which(engine):
            asked = subprocess.run([engine, "info"], capture_output=True, check=False)
            if asked.returncode == 0:
                return engine
    raise ImageError(f"{' and '.join(candidates)}: not installed, or not running")


def load(image: Layout, tag: str, engine: str) -> str:
    """Streams the archive into an engine.

    Returns:
        What the engine calls the image: its identifier.
    Raises:
        ImageError: the engine refuses, or does not know the image by its name afterwards.
    """
    with subprocess.Popen(
        [engine, "load"], stdin=subprocess.PIPE, stdout=sys.stderr, stderr=subprocess.PIPE
    ) as loading:
        assert loading.stdin and loading.stderr
        broke = _feed(image, tag, loading.stdin)
        words = loading.stderr.read().decode(errors="replace").strip().splitlines()
        code = loading.wait()
    if code or broke:
        raise ImageError(f"{engine} load failed ({code}): {words[-1] if words else 'no word'}")
    asked = subprocess.run(
        [engine, "image", "inspect", "--format", "{{.Id}}", tag],
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        raise ImageError(
            f"{engine} took the image, but not by the name {tag}: give the name with a host,"
            f" as in localhost/{tag}"
        )
    return asked.stdout.strip()


def _feed(image: Layout, tag: str, stream: IO[bytes]) -> bool:
    """Whether the engine hung up before the end."""
    try:
        write_archive(image, tag, stream)
        stream.close()
    except BrokenPipeError:
        return True
    return False


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="load", description="Loads an image into an engine.")
    parser.add_argument("--layout", required=True, type=paths.given, help="the image layout")
    parser.add_argument("--tag", required=True, metavar="NAME:TAG")
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--engine", choices=(*_ENGINES, "auto"), default="auto")
    target.add_argument("--archive", type=paths.given, help="write a file, load nothing")
    given = parser.parse_args(argv)
    if not _NAME.fullmatch(given.tag):
        raise ImageError(f"{given.tag!r} is not NAME:TAG")
    image = Layout.open(given.layout)
    problems = image.problems()
    if problems:
        raise ImageError(f"{given.layout}: {problems[0]}")
    if any(layer.media_type.endswith("+zstd") for layer in image.layers):
        print("note: layers are zstd, which Docker before 23 does not read", file=sys.stderr)
    if given.archive:
        save(image, given.tag, given.archive)
        print(f"wrote {given.archive} {image.image.digest}")
    else:
        engine = choose_engine(given.engine)
        identifier = load(image, given.tag, engine)
        print(f"loaded {given.tag} into {engine} as {identifier}")


if __name__ == "__main__":
    errors.run(main)
