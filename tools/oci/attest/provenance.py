"""Where an image came from: an in-toto statement (version 1) with SLSA provenance (version 1) as its predicate.

It says from which commit, lock files and base image, by which target and with which parameters the image was built.
It has no time in it: the same checkout gives the same statement. What it proves depends on who signs it and where the
build ran; it claims no SLSA level.
"""

import argparse
import pathlib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tools.oci import errors, paths
from tools.oci.errors import ImageError
from tools.oci.image.layout import BASE_DIGEST, Layout, canonical_json, sha256_file

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
_LABEL = "org.opencontainers.image."
_COMPRESSIONS = {"tar": "none", "tar+gzip": "gzip", "tar+zstd": "zstd"}


@dataclass(frozen=True)
class Source:
    """The checkout that was built.

    Attributes:
        commit: the object name that HEAD points to.
        clean: whether the files are those of the commit, with nothing added.
    """

    commit: str
    clean: bool

    @classmethod
    def of(cls, checkout: pathlib.Path, *, require_clean: bool = False) -> "Source":
        """Asks git.

        Raises:
            ImageError: it is no checkout, or there is no git, or it has changes and must not.
        """
        commit = _git(checkout, "rev-parse", "--verify", "HEAD").strip()
        changes = _git(checkout, "status", "--porcelain", "--untracked-files=normal")
        if changes and require_clean:
            raise ImageError(
                f"{checkout} has changes that are not in commit {commit[:12]}; commit or remove them"
            )
        return cls(commit, not changes)


@dataclass(frozen=True)
class Build:
    """What the statement says beside what image, checkout and locks say of themselves.

    Attributes:
        target: label of the image.
        build_type: URI of how the parameters are to be read.
        builder_id: URI of who built it.
        source_uri: where the commit can be fetched, if that is to be said and the image's label does not.
        invocation_id: the builder's own name for this run, if it has one.
    """

    target: str
    build_type: str = "urn:retort:bazel-image:v1"
    builder_id: str = "urn:retort:local-build"
    source_uri: str = ""
    invocation_id: str = ""

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Build":
        """What `provenance_arguments` asked for."""
        return cls(
            options.target,
            options.build_type,
            options.builder_id,
            options.source_uri,
            options.invocation_id,
        )


def statement(
    layout: Layout,
    build: Build,
    source: Source,
    locks: Sequence[tuple[str, str]],
) -> bytes:
    """The statement, canonical JSON.

    Args:
        locks: name and digest (`sha256:…`) of each lock file.
    Raises:
        ImageError: the image's label names another revision than the checkout is at.
    """
    labels = _labels(layout)
    if labels.get("revision", source.commit) != source.commit:
        raise ImageError(
            f"{layout.path} was built as revision {labels['revision']}, but the checkout is at "
            f"{source.commit}: build it anew with --//docker:revision={source.commit}"
        )
    run: dict[str, Any] = {"builder": {"id": build.builder_id}}
    if build.invocation_id:
        run["metadata"] = {"invocationId": build.invocation_id}
    return canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [
                {"name": _image_name(build.target), "digest": _digest_set(layout.image.digest)}
            ],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "buildDefinition": {
                    "buildType": build.build_type,
                    "externalParameters": {
                        "target": build.target,
                        "architecture": str(layout.config.get("architecture", "")),
                        "compression": _compression(layout),
                        **labels,
                    },
                    "internalParameters": {"sourceTreeClean": source.clean},
                    "resolvedDependencies": _dependencies(layout, build, source, locks),
                },
                "runDetails": run,
            },
        }
    )


def _image_name(target: str) -> str:
    """`training` of `//docker:training`, and of `//docker/training`."""
    name = target.rpartition(":")[2].rpartition("/")[2]
    if not name:
        raise ImageError(f"not a target: {target!r}; give its label, as in //docker:training")
    return name


def _labels(layout: Layout) -> dict[str, str]:
    """Those labels of an image that flags of its build set: revision, source, version."""
    labels = layout.config.get("config", {}).get("Labels", {})
    return {
        name: str(labels[_LABEL + name])
        for name in ("revision", "source", "version")
        if _LABEL + name in labels
    }


def _digest_set(digest: str) -> dict[str, str]:
    algorithm, _, value = digest.partition(":")
    return {algorithm: value}


def _compression(layout: Layout) -> str:
    """`none`, `gzip`, `zstd`, or several with a plus between, when the layers differ."""
    endings = {layer.media_type.rpartition(".")[2] for layer in layout.layers}
    unknown = sorted(endings - _COMPRESSIONS.keys())
    if unknown:
        raise ImageError(f"{layout.path}: layers of an unknown kind: {', '.join(unknown)}")
    return "+".join(sorted(_COMPRESSIONS[ending] for ending in endings))


def _dependencies(
    layout: Layout, build: Build, source: Source, locks: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    checkout: dict[str, Any] = {"name": "source", "digest": {"gitCommit": source.commit}}
    if uri := build.source_uri or _labels(layout).get("source"):
        checkout["uri"] = uri
    found = [
        checkout,
        *({"name": name, "digest": _digest_set(digest)} for name, digest in sorted(locks)),
    ]
    base = layout.manifest.get("annotations", {}).get(BASE_DIGEST)
    if base:
        found.append({"name": "base image", "digest": _digest_set(str(base))})
    return found


def _git(checkout: pathlib.Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=checkout, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise ImageError(f"git cannot be run in {checkout}: {error.strerror}") from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["git failed"])[-1]
        raise ImageError(f"{checkout}: {reason}")
    return done.stdout


def lock_digest(path: pathlib.Path, checkout: pathlib.Path) -> tuple[str, str]:
    """A lock file's name, which is its path in the checkout where it lies there, and its digest."""
    try:
        digest = sha256_file(path)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from error
    whole, root = path.resolve(), checkout.resolve()
    inside = whole.is_relative_to(root)
    return (whole.relative_to(root).as_posix() if inside else path.name), digest


def provenance_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what a statement says beside what image, checkout and locks say of themselves."""
    parser.add_argument("--target", required=True, help="label of the image: //docker:training")
    parser.add_argument(
        "--locks", action="extend", nargs="+", default=[], type=paths.given, metavar="FILE"
    )
    parser.add_argument(
        "--checkout", default=paths.given("."), type=paths.given, help="what was built"
    )
    parser.add_argument("--build-type", default=Build.build_type, metavar="URI")
    parser.add_argument("--builder-id", default=Build.builder_id, metavar="URI")
    parser.add_argument("--source-uri", default="", help="as `git remote get-url origin` has it")
    parser.add_argument("--invocation-id", default="")
    parser.add_argument("--require-clean", action="store_true", help="refuse a dirty checkout")


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the statement of one image.

    Raises:
        ImageError: an input is malformed, or the checkout is dirty and must not be.
    """
    parser = argparse.ArgumentParser(prog="provenance", allow_abbrev=False)
    parser.add_argument("--layout", required=True, type=paths.given)
    provenance_arguments(parser)
    parser.add_argument("--out", required=True, type=paths.given)
    options = parser.parse_args(arguments)
    source = Source.of(options.checkout, require_clean=options.require_clean)
    locks = [lock_digest(path, options.checkout) for path in options.locks]
    stated = statement(Layout.open(options.layout), Build.of(options), source, locks)
    options.out.write_bytes(stated)


if __name__ == "__main__":
    errors.run(main)
