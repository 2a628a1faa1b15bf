"""Seals an image's bill of materials and its contents file into a directory of kind `sbom`.

The manifest's inputs are the image's digest and that of every lock file the image was resolved from, so the seal says
what the bill belongs to. Run by the rule `oci_sbom`; it needs `retort.core.seal`, unlike the rest of this folder.
"""

import argparse
import pathlib
from collections.abc import Sequence

from retort.core.errors import RetortError
from retort.core.seal import Sealed, sealed_here, sealing
from tools.oci import errors
from tools.oci.attest.sbom import read_digest, sbom
from tools.oci.errors import ImageError
from tools.oci.image import contents
from tools.oci.image.layout import canonical_json, sha256_file

KIND = "sbom"
SBOM = "sbom.cdx.json"
CONTENTS = "contents.json"


def seal_sbom(
    contents_path: pathlib.Path,
    image_digest: str,
    locks: Sequence[pathlib.Path],
    target: pathlib.Path,
) -> Sealed:
    """Writes `target`, with the bill of materials as `sbom.cdx.json` and the contents as `contents.json`.

    Raises:
        ImageError: an input is malformed, or two locks have one name.
        SealError, StorageError: `target` cannot be written or holds something else.
    """
    document = contents.document(contents_path)
    inputs = {"image": image_digest}
    for lock in locks:
        if lock.name in inputs:
            raise ImageError(f"two locks have the name {lock.name}")
        try:
            inputs[lock.name] = sha256_file(lock)
        except OSError as error:
            raise ImageError(f"{lock}: {error.strerror}") from error
    bill = sbom(document, image_digest)
    config = {"image": str(document["image"]), "format": "CycloneDX 1.6"}
    with sealing(target, kind=KIND, inputs=inputs, config=config) as directory:
        (directory / SBOM).write_bytes(bill)
        (directory / CONTENTS).write_bytes(canonical_json(document))
    return sealed_here(target)


def main(arguments: Sequence[str] | None = None) -> None:
    """Seals one bill; the seal is the last line on standard output.

    Raises:
        ImageError: see `seal_sbom`.
    """
    parser = argparse.ArgumentParser(prog="seal_sbom", allow_abbrev=False)
    parser.add_argument("--contents", required=True, type=pathlib.Path)
    parser.add_argument("--digest-file", required=True, type=pathlib.Path)
    parser.add_argument("--lock", action="append", default=[], type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    options = parser.parse_args(arguments)
    digest = read_digest(options.digest_file)
    try:
        sealed = seal_sbom(options.contents, digest, options.lock, options.out)
    except RetortError as error:
        raise ImageError(str(error)) from error
    print(f"seal {sealed.seal} {options.out}")


if __name__ == "__main__":
    errors.run(main)
