"""The software bill of materials of an image: CycloneDX 1.6 (ECMA-424) in JSON, the same bytes for the same image.

Package URLs follow the purl specification's types `pypi`, `deb` and `oci`. Nothing says when or where it was made, and
the serial number follows from the image's digest.
"""

import argparse
import pathlib
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from packageurl import PackageURL

from tools.oci import errors
from tools.oci.attest import spdx
from tools.oci.errors import ImageError
from tools.oci.image import contents as contents_file
from tools.oci.image.contents import Contents, Package
from tools.oci.image.layout import canonical_json

MEDIA_TYPE = "application/vnd.cyclonedx+json"
# Debian's advisories are per release and per source package: scanners look for both in the package URL.
_DISTRIBUTION = "debian-12"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def sbom(contents: Mapping[str, Any], image_digest: str) -> bytes:
    """The bill of materials, canonical JSON.

    Args:
        contents: a contents document (see `tools.oci.image.contents`).
        image_digest: `sha256:…` of the image's manifest.
    Raises:
        ImageError: the contents are malformed, or the digest is not one.
    """
    if not _DIGEST.fullmatch(image_digest):
        raise ImageError(f"not a digest: {image_digest!r}")
    image = contents_file.parse(contents)
    root = image_purl(image.image, image_digest)
    components = sorted(
        (_component(package) for package in image.packages),
        key=lambda component: str(component["bom-ref"]),
    )
    return canonical_json(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, image_digest)}",
            "version": 1,
            "metadata": {
                "lifecycles": [{"phase": "build"}],
                "component": {
                    "type": "container",
                    "bom-ref": root,
                    "name": image.image,
                    "version": image_digest,
                    "purl": root,
                    "hashes": _hashes(image_digest.removeprefix("sha256:")),
                },
            },
            "components": components,
            "dependencies": _dependencies(root, image),
        }
    )


def image_purl(name: str, digest: str) -> str:
    """The package URL of an image."""
    return PackageURL("oci", name=name, version=digest).to_string()


def purl(package: Package) -> str:
    """The package URL of a package."""
    if package.type == "pypi":
        name = re.sub(r"[-_.]+", "-", package.name)
        return PackageURL("pypi", name=name, version=package.version).to_string()
    qualifiers = {"arch": package.architecture, "distro": _DISTRIBUTION}
    if package.source not in ("", package.name):
        qualifiers["upstream"] = package.source
    return PackageURL(
        "deb", "debian", package.name.lower(), package.version, qualifiers
    ).to_string()


def _hashes(sha256: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": sha256}]


def _component(package: Package) -> dict[str, Any]:
    identity = purl(package)
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": identity,
        "name": package.name,
        "version": package.version,
        "purl": identity,
    }
    if package.sha256:
        component["hashes"] = _hashes(package.sha256)
    if licence := package.licence.strip():
        component["licenses"] = [_licence(licence)]
    return component


def _licence(text: str) -> dict[str, Any]:
    """One entry of `licenses`: an SPDX identifier or expression where `text` is one, else its first line as a name.

    Some distributions write their whole licence where its name belongs; that text is kept beside the name.
    """
    declared = {"acknowledgement": "declared"}
    if listed := spdx.identifier(text):
        return {"license": {"id": listed, **declared}}
    if expression := spdx.expression(text):
        return {"expression": expression, **declared}
    name, *more = (line.strip() for line in text.splitlines())
    licence: dict[str, Any] = {"name": name, **declared}
    if more:
        licence["text"] = {"contentType": "text/plain", "content": text}
    return {"license": licence}


def _dependencies(root: str, image: Contents) -> list[dict[str, Any]]:
    """The graph: a node for every package, and the image on top of those that no other package brings in."""
    purls = {(package.type, package.name): purl(package) for package in image.packages}
    graph = {
        purls[package.type, package.name]: sorted(purls["pypi", name] for name in package.requires)
        for package in image.packages
    }
    graph[root] = _tops(graph)
    return [
        {"ref": ref, "dependsOn": below} if below else {"ref": ref}
        for ref, below in sorted(graph.items())
    ]


def _tops(graph: Mapping[str, Sequence[str]]) -> list[str]:
    """Nodes that nothing else requires, and one of each circle that nothing else reaches."""
    required = {name for node, below in graph.items() for name in below if name != node}
    reached: set[str] = set()
    tops = []
    for node in sorted(graph, key=lambda name: (name in required, name)):
        if node in reached:
            continue
        tops.append(node)
        waiting = [node]
        while waiting:
            current = waiting.pop()
            if current not in reached:
                reached.add(current)
                waiting.extend(graph[current])
    return sorted(tops)


def read_digest(path: pathlib.Path) -> str:
    """The digest in a digest file.

    Raises:
        ImageError: there is none.
    """
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: {error}") from error
    if not _DIGEST.fullmatch(text):
        raise ImageError(f"{path} holds no digest: {text[:80]!r}")
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the bill of materials of one image.

    Raises:
        ImageError: an input is malformed.
    """
    parser = argparse.ArgumentParser(prog="sbom", allow_abbrev=False)
    parser.add_argument("--contents", required=True, type=pathlib.Path)
    parser.add_argument("--digest-file", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    options = parser.parse_args(arguments)
    document = contents_file.document(options.contents)
    options.out.write_bytes(sbom(document, read_digest(options.digest_file)))


if __name__ == "__main__":
    errors.run(main)
