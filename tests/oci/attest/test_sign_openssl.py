"""Signatures as another program sees them: openssl verifies ours, and we read its keys."""

import base64
import json
import pathlib
import subprocess
from typing import Any

from tests.oci.attest.keys import KEY, STRANGER, write_public
from tools.oci.attest import sign
from tools.oci.image.layout import canonical_json, describe

IMAGE = describe("application/vnd.oci.image.manifest.v1+json", b"{}")
STATEMENT = canonical_json({"_type": "a statement", "text": "\u2603"})


def openssl_agrees(folder: pathlib.Path, signature: bytes, content: bytes, key: Any) -> bool:
    """What `openssl dgst -sha256 -verify` says."""
    (folder / "signature").write_bytes(signature)
    (folder / "content").write_bytes(content)
    public = write_public(folder / "public.pem", key)
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "-verify", public, "-signature", "signature", "content"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() in ("Verified OK", "Verification failure"), done.stderr
    return done.returncode == 0


def test_openssl_agrees_with_an_envelope(tmp_path: pathlib.Path) -> None:
    envelope = json.loads(sign.sign_statement(STATEMENT, KEY))
    assert base64.b64decode(envelope["payload"]) == STATEMENT
    kind = b"application/vnd.in-toto+json"
    assert envelope["payloadType"].encode() == kind
    signed = b"DSSEv1 28 " + kind + b" " + str(len(STATEMENT)).encode() + b" " + STATEMENT
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    assert openssl_agrees(tmp_path, signature, signed, KEY)
    assert not openssl_agrees(tmp_path, signature, signed + b" ", KEY)
    assert not openssl_agrees(tmp_path, signature, signed, STRANGER)


def test_openssl_agrees_with_the_signature_of_an_image(tmp_path: pathlib.Path) -> None:
    signed = sign.sign_image(IMAGE, "training", KEY)
    signature = base64.b64decode(signed.signature)
    assert openssl_agrees(tmp_path, signature, signed.payload, KEY)
    assert not openssl_agrees(tmp_path, signature, signed.payload, STRANGER)


def test_a_key_made_by_openssl_is_read(tmp_path: pathlib.Path) -> None:
    subprocess.run(
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-out", tmp_path / "key.pem"],
        check=True,
    )
    key = sign.load_private_key(tmp_path / "key.pem")
    sign.verify_statement(sign.sign_statement(STATEMENT, key), key.public_key())
