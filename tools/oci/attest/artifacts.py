"""What is published beside an image: its bill of materials, its provenance and, with a key, its signature.

`artifacts` gives them for attaching as OCI 1.1 referrers; `signature_image` gives the signature as the small image that
cosign looks for under a tag. The command `sign` writes envelope and signature as files, `verify` checks them.
"""

import argparse
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from tools.oci import errors, paths
from tools.oci.attest import sign
from tools.oci.attest.provenance import PREDICATE_TYPE
from tools.oci.attest.sbom import MEDIA_TYPE as CYCLONEDX
from tools.oci.distribution.referrers import Artifact
from tools.oci.errors import ImageError
from tools.oci.image.layout import (
    CONFIG,
    MANIFEST,
    Descriptor,
    Layout,
    canonical_json,
    describe,
    write_layout,
)

SIGNATURE_ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json"
_ENVELOPE = "provenance.dsse.json"
_PAYLOAD = "signature.json"
_SIGNATURE = "signature.base64"
_IMAGE = "signature"
_EPOCH = "0001-01-01T00:00:00Z"


def artifacts(
    layout: Layout, sbom: bytes, provenance: bytes, key: sign.PrivateKey | None
) -> list[Artifact]:
    """What to attach to the image: its bill of materials and its provenance, and with a key its signature.

    Args:
        sbom: CycloneDX, see `tools.oci.attest.sbom`.
        provenance: the statement, see `tools.oci.attest.provenance`; it goes into an envelope when there is a key.
    Raises:
        ImageError: one of them is of another image.
    """
    _check_sbom(layout, sbom)
    name = check_statement(layout, provenance)
    predicate = {"in-toto.io/predicate-type": PREDICATE_TYPE}
    bill = Artifact(CYCLONEDX, CYCLONEDX, sbom)
    if key is None:
        return [bill, Artifact(sign.STATEMENT, sign.STATEMENT, provenance, predicate)]
    envelope = sign.sign_statement(provenance, key)
    signed = sign.sign_image(layout.image, name, key)
    return [
        bill,
        Artifact(sign.STATEMENT, sign.ENVELOPE, envelope, predicate),
        Artifact(
            SIGNATURE_ARTIFACT,
            sign.SIMPLE_SIGNING,
            signed.payload,
            {sign.SIGNATURE: signed.signature},
        ),
    ]


def signature_image(signed: sign.SignedImage) -> tuple[Descriptor, dict[str, bytes]]:
    """The image that cosign reads from the tag `sign.signature_tag`: its descriptor, and every blob by digest."""
    payload = describe(sign.SIMPLE_SIGNING, signed.payload, **{sign.SIGNATURE: signed.signature})
    config = canonical_json(
        {
            "architecture": "",
            "created": _EPOCH,
            "history": [{"created": _EPOCH}],
            "os": "",
            "rootfs": {"type": "layers", "diff_ids": [payload.digest]},
            "config": {},
        }
    )
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": describe(CONFIG, config).to_json(),
            "layers": [payload.to_json()],
        }
    )
    image = describe(MANIFEST, manifest)
    contents = {
        payload.digest: signed.payload,
        describe(CONFIG, config).digest: config,
        image.digest: manifest,
    }
    return image, contents


def _check_sbom(layout: Layout, sbom: bytes) -> None:
    try:
        found = json.loads(sbom)["metadata"]["component"]["version"]
    except (KeyError, TypeError, ValueError) as error:
        raise ImageError("the bill of materials does not name an image") from error
    if found != layout.image.digest:
        raise ImageError(f"the bill of materials is of {found}, not of {layout.image.digest}")


def check_statement(layout: Layout, statement: bytes) -> str:
    """Checks that a statement is about this image.

    Returns:
        the name that it gives the image.
    Raises:
        ImageError: it is about another one.
    """
    try:
        (subject,) = json.loads(statement)["subject"]
        name, digest = str(subject["name"]), f"sha256:{subject['digest']['sha256']}"
    except (KeyError, TypeError, ValueError) as error:
        raise ImageError("the provenance is not a statement about one image") from error
    if digest != layout.image.digest:
        raise ImageError(f"the provenance is of {digest}, not of {layout.image.digest}")
    return name


def passphrase_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds where the passphrase of a key is."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--passphrase-file", type=paths.given)
    group.add_argument("--passphrase-env", metavar="NAME")


def passphrase(options: argparse.Namespace) -> bytes | None:
    """What `passphrase_arguments` asked for.

    Raises:
        ImageError: it cannot be read.
    """
    if options.passphrase_file:
        return _read(options.passphrase_file).rstrip(b"\r\n")
    if options.passphrase_env:
        try:
            return os.environb[os.fsencode(options.passphrase_env)]
        except KeyError as error:
            raise ImageError(f"{options.passphrase_env} is not in the environment") from error
    return None


def _read(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from error


def _sign(options: argparse.Namespace) -> None:
    layout = Layout.open(options.layout)
    key = sign.load_private_key(options.key, passphrase(options))
    statement = _read(options.provenance)
    signed = sign.sign_image(layout.image, check_statement(layout, statement), key)
    try:
        options.out.mkdir(parents=True)
    except OSError as error:
        raise ImageError(f"{options.out}: {error.strerror}; choose another place") from error
    (options.out / _ENVELOPE).write_bytes(sign.sign_statement(statement, key))
    (options.out / _PAYLOAD).write_bytes(signed.payload)
    (options.out / _SIGNATURE).write_text(signed.signature, encoding="ascii")
    image, contents = signature_image(signed)
    write_layout(options.out / _IMAGE, image, {}, contents)
    print(f"signed {layout.image.digest} tag {sign.signature_tag(layout.image)}")


def _verify(options: argparse.Namespace) -> None:
    layout = Layout.open(options.layout)
    if problems := layout.problems():
        raise ImageError(f"{options.layout}: {problems[0]}")
    key = sign.load_public_key(options.key)
    payload, signature = _read(options.signed / _PAYLOAD), _read(options.signed / _SIGNATURE)
    signed = sign.SignedImage(payload, signature.decode("ascii", "replace"))
    sign.verify_image(signed, layout.image, key)
    check_statement(layout, sign.verify_statement(_read(options.signed / _ENVELOPE), key))
    print(f"verified {layout.image.digest} key {sign.key_id(key)}")


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="artifacts", allow_abbrev=False)
    commands = parser.add_subparsers(required=True)
    signing: Any = commands.add_parser("sign", help="write envelope and signature into a folder")
    signing.set_defaults(run=_sign)
    signing.add_argument("--layout", required=True, type=paths.given)
    signing.add_argument("--provenance", required=True, type=paths.given)
    signing.add_argument("--key", required=True, type=paths.given, help="private key, PEM")
    passphrase_arguments(signing)
    signing.add_argument("--out", required=True, type=paths.given, help="a folder not there yet")
    verifying: Any = commands.add_parser("verify", help="check what `sign` wrote")
    verifying.set_defaults(run=_verify)
    verifying.add_argument("--layout", required=True, type=paths.given)
    verifying.add_argument("--key", required=True, type=paths.given, help="public key, PEM")
    verifying.add_argument("--signed", required=True, type=paths.given)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Signs an image and its provenance, or checks the signatures.

    Raises:
        ImageError: an input is malformed or of another image, or a signature is not good.
    """
    options = _arguments().parse_args(arguments)
    options.run(options)


if __name__ == "__main__":
    errors.run(main)
