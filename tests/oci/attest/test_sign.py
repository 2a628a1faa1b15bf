"""Signatures: what is signed verifies, and nothing altered or signed by another key passes."""

import base64
import json
import pathlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oci.attest.keys import KEY, STRANGER, write_key, write_public
from tools.oci.attest import sign
from tools.oci.errors import ImageError
from tools.oci.image.layout import canonical_json, describe

IMAGE = describe("application/vnd.oci.image.manifest.v1+json", b"{}")
OTHER = describe("application/vnd.oci.image.manifest.v1+json", b"{ }")
STATEMENT = canonical_json({"_type": "a statement", "text": "\u2603"})


# --- statements


def test_the_encoding_is_that_of_the_specification() -> None:
    encoded = sign.pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_an_envelope_gives_its_statement_back() -> None:
    assert sign.verify_statement(sign.sign_statement(STATEMENT, KEY), KEY.public_key()) == STATEMENT


def test_signing_twice_gives_the_same_bytes() -> None:
    assert sign.sign_statement(STATEMENT, KEY) == sign.sign_statement(STATEMENT, KEY)
    assert sign.sign_image(IMAGE, "a", KEY) == sign.sign_image(IMAGE, "a", KEY)


def test_an_envelope_of_another_key_is_refused() -> None:
    envelope = json.loads(sign.sign_statement(STATEMENT, STRANGER))
    envelope["signatures"][0]["keyid"] = sign.key_id(KEY.public_key())
    with pytest.raises(ImageError, match="not signed by this key"):
        sign.verify_statement(canonical_json(envelope), KEY.public_key())


def test_one_good_signature_among_others_is_enough() -> None:
    envelope = json.loads(sign.sign_statement(STATEMENT, STRANGER))
    envelope["signatures"] += json.loads(sign.sign_statement(STATEMENT, KEY))["signatures"]
    assert sign.verify_statement(canonical_json(envelope), KEY.public_key()) == STATEMENT
    envelope["signatures"] = []
    with pytest.raises(ImageError, match="not signed by this key"):
        sign.verify_statement(canonical_json(envelope), KEY.public_key())


@settings(deadline=None)
@given(st.data())
def test_an_altered_statement_is_refused(data: st.DataObject) -> None:
    envelope = json.loads(sign.sign_statement(STATEMENT, KEY))
    altered = bytearray(STATEMENT)
    place = data.draw(st.integers(0, len(altered) - 1))
    altered[place] ^= data.draw(st.integers(1, 255))
    envelope["payload"] = base64.b64encode(altered).decode()
    with pytest.raises(ImageError, match="not signed by this key"):
        sign.verify_statement(canonical_json(envelope), KEY.public_key())


@pytest.mark.parametrize(
    "envelope",
    [
        *(b"", b"[]", b"{}"),
        b'{"payloadType":"a","payload":"!","signatures":[]}',
        b'{"payloadType":"a","payload":7,"signatures":[]}',
    ],
)
def test_what_is_no_envelope_is_refused(envelope: bytes) -> None:
    with pytest.raises(ImageError, match="not a DSSE envelope"):
        sign.verify_statement(envelope, KEY.public_key())


def test_an_envelope_of_something_else_is_refused() -> None:
    envelope = json.loads(sign.sign_statement(STATEMENT, KEY)) | {"payloadType": "text/plain"}
    with pytest.raises(ImageError, match="'text/plain', not an in-toto statement"):
        sign.verify_statement(canonical_json(envelope), KEY.public_key())


# --- images


def test_an_image_is_signed_by_its_digest() -> None:
    signed = sign.sign_image(IMAGE, "training", KEY)
    assert json.loads(signed.payload) == {
        "critical": {
            "identity": {"docker-reference": "training"},
            "image": {"docker-manifest-digest": IMAGE.digest},
            "type": "cosign container image signature",
        },
        "optional": None,
    }
    sign.verify_image(signed, IMAGE, KEY.public_key())


def test_the_signature_of_another_image_key_or_purpose_is_refused() -> None:
    signed = sign.sign_image(IMAGE, "training", KEY)
    with pytest.raises(ImageError, match=f"of {IMAGE.digest}, not of {OTHER.digest}"):
        sign.verify_image(signed, OTHER, KEY.public_key())
    with pytest.raises(ImageError, match="not signed by this key"):
        sign.verify_image(signed, IMAGE, STRANGER.public_key())
    swapped = sign.SignedImage(sign.sign_image(OTHER, "training", KEY).payload, signed.signature)
    with pytest.raises(ImageError, match="payload was altered"):
        sign.verify_image(swapped, OTHER, KEY.public_key())
    with pytest.raises(ImageError, match="not base64"):
        sign.verify_image(sign.SignedImage(signed.payload, "!"), IMAGE, KEY.public_key())


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"[]", "not that of an image"),
        (b'{"critical":{"type":"a note","image":{"docker-manifest-digest":""}}}', "'a note'"),
    ],
)
def test_other_content_that_the_key_signed_is_no_image(payload: bytes, reason: str) -> None:
    signature = base64.b64encode(KEY.sign(payload, ec.ECDSA(SHA256()))).decode()
    with pytest.raises(ImageError, match=reason):
        sign.verify_image(sign.SignedImage(payload, signature), IMAGE, KEY.public_key())


def test_the_tag_is_where_cosign_looks() -> None:
    assert sign.signature_tag(IMAGE) == f"sha256-{IMAGE.digest.removeprefix('sha256:')}.sig"


# --- keys


def test_keys_are_read_plain_and_encrypted(tmp_path: pathlib.Path) -> None:
    plain = write_key(tmp_path / "plain.pem", KEY)
    locked = write_key(tmp_path / "locked.pem", KEY, b"secret words")
    public = write_public(tmp_path / "public.pem", KEY)
    names = {
        sign.key_id(sign.load_private_key(plain).public_key()),
        sign.key_id(sign.load_private_key(locked, b"secret words").public_key()),
        sign.key_id(sign.load_public_key(public)),
    }
    assert len(names) == 1


@pytest.mark.parametrize("passphrase", [None, b"wrong words"])
def test_a_passphrase_that_does_not_open_is_refused_and_not_shown(
    tmp_path: pathlib.Path, passphrase: bytes | None
) -> None:
    locked = write_key(tmp_path / "locked.pem", KEY, b"secret words")
    with pytest.raises(ImageError, match="not its passphrase") as refused:
        sign.load_private_key(locked, passphrase)
    assert "words" not in str(refused.value)


def test_other_keys_are_refused(tmp_path: pathlib.Path) -> None:
    for other in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)):
        private = write_key(tmp_path / "private.pem", other)
        public = write_public(tmp_path / "public.pem", other)
        with pytest.raises(ImageError, match="not an ECDSA key on P-256"):
            sign.load_private_key(private)
        with pytest.raises(ImageError, match="not an ECDSA key on P-256"):
            sign.load_public_key(public)
    with pytest.raises(ImageError, match="not a public key"):
        sign.load_public_key(private)
    with pytest.raises(ImageError, match="No such file"):
        sign.load_private_key(tmp_path / "gone.pem")
