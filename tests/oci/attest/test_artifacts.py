"""What is attached to an image, and the command that signs and verifies."""

import json
import pathlib
import shutil

import pytest

from tests.oci.attest.keys import KEY, STRANGER, write_key, write_public
from tests.oci.small_images import SmallLayer, write_image
from tools.oci import errors
from tools.oci.attest import artifacts, sign
from tools.oci.attest.provenance import Build, Source, statement
from tools.oci.attest.sbom import sbom
from tools.oci.errors import ImageError
from tools.oci.image.layout import Layout

SOURCE = Source("0" * 40, True)


@pytest.fixture
def layout(tmp_path: pathlib.Path) -> Layout:
    return write_image(tmp_path / "image", [SmallLayer("app", {"a": b"a"})])


def bill(layout: Layout) -> bytes:
    return sbom({"image": "training", "packages": []}, layout.image.digest)


def provenance(layout: Layout) -> bytes:
    return statement(layout, Build("//docker:training"), SOURCE, [])


def test_without_a_key_bill_and_statement_are_attached_as_they_are(layout: Layout) -> None:
    found = artifacts.artifacts(layout, bill(layout), provenance(layout), None)
    assert [(one.artifact_type, one.media_type, one.content) for one in found] == [
        ("application/vnd.cyclonedx+json", "application/vnd.cyclonedx+json", bill(layout)),
        ("application/vnd.in-toto+json", "application/vnd.in-toto+json", provenance(layout)),
    ]
    assert found[1].annotations == {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"}


def test_with_a_key_the_statement_is_in_an_envelope_and_the_image_is_signed(layout: Layout) -> None:
    _, enveloped, signed = artifacts.artifacts(layout, bill(layout), provenance(layout), KEY)
    assert enveloped.artifact_type == "application/vnd.in-toto+json"
    assert enveloped.media_type == "application/vnd.dsse.envelope.v1+json"
    assert sign.verify_statement(enveloped.content, KEY.public_key()) == provenance(layout)
    signature = signed.annotations["dev.cosignproject.cosign/signature"]
    sign.verify_image(sign.SignedImage(signed.content, signature), layout.image, KEY.public_key())


def test_what_is_of_another_image_is_not_attached(layout: Layout, tmp_path: pathlib.Path) -> None:
    other = write_image(tmp_path / "other", [SmallLayer("app", {"a": b"b"})])
    with pytest.raises(ImageError, match="bill of materials is of"):
        artifacts.artifacts(layout, bill(other), provenance(layout), None)
    with pytest.raises(ImageError, match="provenance is of"):
        artifacts.artifacts(layout, bill(layout), provenance(other), KEY)
    with pytest.raises(ImageError, match="does not name an image"):
        artifacts.artifacts(layout, b"{}", provenance(layout), None)
    with pytest.raises(ImageError, match="not a statement about one image"):
        artifacts.artifacts(layout, bill(layout), b"{}", None)


def signing(layout: Layout, *more: str) -> list[str]:
    folder = layout.path.parent
    (folder / "provenance.json").write_bytes(provenance(layout))
    write_key(folder / "key.pem", KEY)
    write_key(folder / "locked.pem", KEY, b"secret words")
    write_public(folder / "public.pem", KEY)
    write_public(folder / "stranger.pem", STRANGER)
    return [
        "sign",
        f"--layout={layout.path}",
        f"--provenance={folder}/provenance.json",
        f"--key={folder}/key.pem",
        f"--out={folder}/signed",
        *more,
    ]


def verifying(layout: Layout, key: str = "public.pem") -> list[str]:
    folder = layout.path.parent
    return [
        "verify",
        f"--layout={layout.path}",
        f"--key={folder / key}",
        f"--signed={folder}/signed",
    ]


def test_what_is_signed_verifies(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    artifacts.main(signing(layout))
    artifacts.main(verifying(layout))
    signed, verified = capsys.readouterr().out.splitlines()
    assert signed == f"signed {layout.image.digest} tag {sign.signature_tag(layout.image)}"
    assert verified.startswith(f"verified {layout.image.digest} key ")


def test_the_signature_is_an_image_as_cosign_reads_it(layout: Layout) -> None:
    artifacts.main(signing(layout))
    signed = Layout.open(layout.path.parent / "signed/signature")
    assert signed.problems() == []
    (layer,) = signed.layers
    assert layer.media_type == "application/vnd.dev.cosign.simplesigning.v1+json"
    assert signed.config["rootfs"]["diff_ids"] == [layer.digest]
    payload = signed.blob(layer.digest).read_bytes()
    signature = layer.annotations["dev.cosignproject.cosign/signature"]
    sign.verify_image(sign.SignedImage(payload, signature), layout.image, KEY.public_key())


def test_the_passphrase_comes_from_a_file_or_the_environment(
    layout: Layout, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = signing(layout, f"--key={tmp_path}/locked.pem")
    with pytest.raises(ImageError, match="passphrase"):
        artifacts.main(locked)
    with pytest.raises(ImageError, match="RETORT_TEST_PHRASE is not in the environment"):
        artifacts.main([*locked, "--passphrase-env=RETORT_TEST_PHRASE"])
    monkeypatch.setenv("RETORT_TEST_PHRASE", "secret words")
    artifacts.main([*locked, "--passphrase-env=RETORT_TEST_PHRASE"])
    shutil.rmtree(tmp_path / "signed")
    (tmp_path / "phrase").write_text("secret words\n")
    artifacts.main([*locked, f"--passphrase-file={tmp_path}/phrase"])
    artifacts.main(verifying(layout))


def test_another_key_does_not_verify(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    artifacts.main(signing(layout))
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        errors.run(lambda: artifacts.main(verifying(layout, "stranger.pem")))
    assert end.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: the image is not signed by this key")


@pytest.mark.parametrize("name", ["provenance.dsse.json", "signature.json", "signature.base64"])
def test_a_file_altered_or_gone_does_not_verify(layout: Layout, name: str) -> None:
    artifacts.main(signing(layout))
    path = layout.path.parent / "signed" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ImageError):
        artifacts.main(verifying(layout))
    path.unlink()
    with pytest.raises(ImageError, match="No such file"):
        artifacts.main(verifying(layout))


def test_an_image_with_a_damaged_layer_does_not_verify(layout: Layout) -> None:
    artifacts.main(signing(layout))
    blob = layout.blob(layout.layers[0].digest)
    blob.write_bytes(b"x" + blob.read_bytes()[1:])
    with pytest.raises(ImageError, match="has other content"):
        artifacts.main(verifying(layout))


def test_a_signature_moved_to_another_image_does_not_verify(
    layout: Layout, tmp_path: pathlib.Path
) -> None:
    artifacts.main(signing(layout))
    other = write_image(tmp_path / "other", [SmallLayer("app", {"a": b"b"})])
    with pytest.raises(ImageError, match="the signature is of"):
        artifacts.main(verifying(other))


def test_signatures_are_not_written_over(layout: Layout) -> None:
    artifacts.main(signing(layout))
    before = json.loads((layout.path.parent / "signed/signature.json").read_bytes())
    with pytest.raises(ImageError, match="choose another place"):
        artifacts.main(signing(layout))
    assert json.loads((layout.path.parent / "signed/signature.json").read_bytes()) == before
