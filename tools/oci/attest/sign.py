"""Signatures with a key: ECDSA over P-256 with SHA-256.

Two forms. A statement is put into a DSSE envelope (Dead Simple Signing Envelope 1.0, as in-toto attestations ask for).
An image is signed through a small payload that names its digest, the form that cosign checks with
`cosign verify --key`. Signing is deterministic (RFC 6979): the same key and content give the same signature.
"""

import base64
import binascii
import hashlib
import json
import pathlib
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from tools.oci.errors import ImageError
from tools.oci.image.layout import Descriptor, canonical_json

STATEMENT = "application/vnd.in-toto+json"
ENVELOPE = "application/vnd.dsse.envelope.v1+json"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
_SIGNED = "cosign container image signature"

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey


@dataclass(frozen=True)
class SignedImage:
    """A payload that names an image, and its signature in base64."""

    payload: bytes
    signature: str


def load_private_key(path: pathlib.Path, passphrase: bytes | None = None) -> PrivateKey:
    """Reads a private key in PEM, plain or encrypted.

    Raises:
        ImageError: it cannot be read, is not a key on P-256, or the passphrase is missing, wrong or too much.
    """
    content = _read(path)
    try:
        key = serialization.load_pem_private_key(content, passphrase)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        # The library's own words may speak of the passphrase; none of its words are repeated.
        raise ImageError(f"{path}: not a private key in PEM, or not its passphrase") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ImageError(f"{path}: not an ECDSA key on P-256")
    return key


def load_public_key(path: pathlib.Path) -> PublicKey:
    """Reads a public key in PEM.

    Raises:
        ImageError: it cannot be read, or is not a key on P-256.
    """
    content = _read(path)
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ImageError(f"{path}: not a public key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ImageError(f"{path}: not an ECDSA key on P-256")
    return key


def key_id(key: PublicKey) -> str:
    """The SHA-256 of the key's DER form (SubjectPublicKeyInfo): a hint for whoever has several."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """What a DSSE signature is made over: type and payload, each behind its length in bytes."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign_statement(statement: bytes, key: PrivateKey) -> bytes:
    """The DSSE envelope of an in-toto statement, canonical JSON."""
    signature = _sign(pre_authentication_encoding(STATEMENT, statement), key)
    return canonical_json(
        {
            "payloadType": STATEMENT,
            "payload": base64.b64encode(statement).decode(),
            "signatures": [
                {"keyid": key_id(key.public_key()), "sig": base64.b64encode(signature).decode()}
            ],
        }
    )


def verify_statement(envelope: bytes, key: PublicKey) -> bytes:
    """The statement of an envelope that this key signed. The key's name in the envelope is not trusted.

    Raises:
        ImageError: it is no such envelope, or no signature in it is this key's over this payload.
    """
    try:
        content = json.loads(envelope)
        kind, payload = content["payloadType"], _decoded(content["payload"])
        signatures = [_decoded(entry["sig"]) for entry in content["signatures"]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ImageError("not a DSSE envelope") from error
    if kind != STATEMENT:
        raise ImageError(f"the envelope holds {kind!r}, not an in-toto statement")
    signed = pre_authentication_encoding(kind, payload)
    if not any(_is_signature(signature, signed, key) for signature in signatures):
        raise ImageError("the envelope is not signed by this key, or was altered")
    return payload


def sign_image(image: Descriptor, reference: str, key: PrivateKey) -> SignedImage:
    """Signs an image by its digest.

    Args:
        reference: the name under which it is published. It is in the payload; cosign does not compare it.
    """
    payload = canonical_json(
        {
            "critical": {
                "identity": {"docker-reference": reference},
                "image": {"docker-manifest-digest": image.digest},
                "type": _SIGNED,
            },
            "optional": None,
        }
    )
    return SignedImage(payload, base64.b64encode(_sign(payload, key)).decode())


def verify_image(signed: SignedImage, image: Descriptor, key: PublicKey) -> None:
    """Checks that this key signed this image.

    Raises:
        ImageError: it did not, or it signed another image.
    """
    try:
        signature = _decoded(signed.signature)
    except ValueError as error:
        raise ImageError("the signature is not base64") from error
    if not _is_signature(signature, signed.payload, key):
        raise ImageError("the image is not signed by this key, or the payload was altered")
    try:
        critical: dict[str, Any] = json.loads(signed.payload)["critical"]
        kind, digest = critical["type"], critical["image"]["docker-manifest-digest"]
    except (KeyError, TypeError, ValueError) as error:
        raise ImageError("the signed payload is not that of an image") from error
    if kind != _SIGNED:
        raise ImageError(f"the signed payload is a {kind!r}, not a {_SIGNED}")
    if digest != image.digest:
        raise ImageError(f"the signature is of {digest}, not of {image.digest}")


def signature_tag(image: Descriptor) -> str:
    """The tag under which cosign looks for an image's signatures."""
    return f"{image.digest.replace(':', '-')}.sig"


def _sign(content: bytes, key: PrivateKey) -> bytes:
    return key.sign(content, ec.ECDSA(SHA256(), deterministic_signing=True))


def _is_signature(signature: bytes, content: bytes, key: PublicKey) -> bool:
    try:
        key.verify(signature, content, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


def _read(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from error
