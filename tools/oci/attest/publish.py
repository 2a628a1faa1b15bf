"""`bazel run //docker:training.push`: an image to a registry, with all that is said about it.

The image goes first, by its digest. Then its bill of materials and its provenance are attached and, with a key,
provenance and image are signed. Tags are last: whatever fails leaves them where they were. Without a key nothing is
signed, and the provenance is a plain statement.
"""

import argparse
import os
import pathlib
import tempfile
from collections.abc import Sequence

from tools.oci import errors, paths
from tools.oci.attest import sign
from tools.oci.attest.artifacts import artifacts, passphrase, passphrase_arguments, signature_image
from tools.oci.attest.provenance import Build, Source, lock_digest, provenance_arguments, statement
from tools.oci.distribution import push, references
from tools.oci.distribution.client import Registry
from tools.oci.errors import ImageError
from tools.oci.image.layout import Layout, write_layout

_BILL = "sbom.cdx.json"


def _push_signature(
    registry: Registry, repository: str, image: Layout, name: str, key: sign.PrivateKey
) -> None:
    """Pushes the signature under the tag where cosign looks for it."""
    signature, contents = signature_image(sign.sign_image(image.image, name, key))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "signature")
        write_layout(path, signature, {}, contents)
        push.push(registry, repository, path, tags=[sign.signature_tag(image.image)])


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="push", allow_abbrev=False, description=__doc__)
    push.arguments(parser)
    parser.add_argument("--sbom", required=True, type=paths.given, help="sealed directory")
    provenance_arguments(parser)
    parser.add_argument("--key", type=paths.given, help="private key, PEM: sign")
    passphrase_arguments(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command.

    Raises:
        ImageError: an input is malformed, or the registry refuses.
    """
    given = _arguments().parse_args(argv)
    target = references.parse_repository(given.repository)
    tags = [references.check_tag(tag) for tag in given.tag]
    attachments = [push.attachment(text) for text in given.attach]
    key = sign.load_private_key(given.key, passphrase(given)) if given.key else None
    checkout = pathlib.Path(os.environ.get("BUILD_WORKSPACE_DIRECTORY", given.checkout))
    source = Source.of(checkout, require_clean=given.require_clean)
    image = Layout.open(given.layout)
    try:
        bill = (given.sbom / _BILL).read_bytes()
    except OSError as error:
        raise ImageError(f"{given.sbom}: {error.strerror}") from error
    locks = [lock_digest(path, checkout) for path in given.locks]
    stated = statement(image, Build.of(given), source, locks)
    attachments += artifacts(image, bill, stated, key)
    with push.connect(given, target) as registry:
        pushed = push.push(
            registry,
            target.repository,
            given.layout,
            attachments=attachments,
            chunk_bytes=given.chunk_bytes,
        )
        if key:
            _push_signature(registry, target.repository, image, target.name, key)
        push.tag_image(registry, target.repository, image, tags)
    push.say(given, target, pushed)


if __name__ == "__main__":
    errors.run(main)
