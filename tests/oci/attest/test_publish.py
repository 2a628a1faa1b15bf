"""An image is published with its bill of materials, its provenance and its signature, tags last."""

import json
import pathlib
import subprocess

import pytest

from tests.oci.attest.keys import KEY, write_key
from tests.oci.distribution.listed_referrers import referrers
from tests.oci.distribution.registry_server import Fault, RegistryServer
from tests.oci.small_images import SmallLayer, write_image
from tools.oci.attest import publish, sign
from tools.oci.attest.artifacts import SIGNATURE_ARTIFACT
from tools.oci.attest.sbom import sbom
from tools.oci.distribution.client import Registry
from tools.oci.errors import ImageError
from tools.oci.image.layout import Layout

_REPOSITORY = "team/small"


@pytest.fixture
def image(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """An image, its bill of materials, a key, a lock and a checkout, all below one folder."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-docker"))
    monkeypatch.delenv("BUILD_WORKSPACE_DIRECTORY", raising=False)
    made = write_image(tmp_path / "small", [SmallLayer("app", {"a": b"1"})])
    (tmp_path / "small.sbom").mkdir()
    contents = {"image": "small", "packages": []}
    (tmp_path / "small.sbom/sbom.cdx.json").write_bytes(sbom(contents, made.image.digest))
    write_key(tmp_path / "key.pem", KEY)
    (tmp_path / "small.lock").write_text("one==1\n")
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        settings = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *settings, *command], cwd=checkout, check=True)
    return made


def _publish(server: RegistryServer, folder: pathlib.Path, *more: str) -> None:
    publish.main(
        [
            f"--layout={folder / 'small'}",
            f"--repository={server.host}/{_REPOSITORY}",
            f"--sbom={folder / 'small.sbom'}",
            "--target=//docker:small",
            f"--checkout={folder / 'checkout'}",
            f"--locks={folder / 'small.lock'}",
            "--tag=v1",
            *more,
        ]
    )


def _digest_of(registry: Registry, reference: str) -> str | None:
    found = registry.manifest(_REPOSITORY, reference)
    return found.descriptor.digest if found else None


def test_everything_that_is_said_of_an_image_is_found_beside_it(
    tmp_path: pathlib.Path, image: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    with RegistryServer().serving() as server:
        _publish(server, tmp_path, f"--key={tmp_path / 'key.pem'}")
        last = capsys.readouterr().out.splitlines()[-1]
        assert last.startswith(f"pushed {server.host}/{_REPOSITORY}@{image.image.digest} 2 blobs")
        with Registry(server.host) as registry:
            assert _digest_of(registry, "v1") == image.image.digest
            kinds = {
                entry["artifactType"]
                for entry in referrers(registry, _REPOSITORY, image.image.digest)
            }
            assert kinds == {
                "application/vnd.cyclonedx+json",
                sign.STATEMENT,
                SIGNATURE_ARTIFACT,
            }
            signature = registry.manifest(_REPOSITORY, sign.signature_tag(image.image))
        assert signature is not None
        (layer,) = json.loads(signature.content)["layers"]
        assert layer["annotations"][sign.SIGNATURE]


def test_without_a_key_nothing_is_signed(tmp_path: pathlib.Path, image: Layout) -> None:
    with RegistryServer().serving() as server:
        _publish(server, tmp_path)
        with Registry(server.host) as registry:
            assert _digest_of(registry, sign.signature_tag(image.image)) is None
            assert len(referrers(registry, _REPOSITORY, image.image.digest)) == 2


def test_what_fails_leaves_tags_where_they_were(tmp_path: pathlib.Path, image: Layout) -> None:
    with RegistryServer(
        faults=[Fault("PUT /v2/team/small/manifests/sha256-", status=403)]
    ).serving() as server:
        with pytest.raises(ImageError):
            _publish(server, tmp_path, f"--key={tmp_path / 'key.pem'}")
        with Registry(server.host) as registry:
            assert _digest_of(registry, "v1") is None


def test_a_dirty_checkout_is_refused_before_anything_moves(
    tmp_path: pathlib.Path, image: Layout
) -> None:
    (tmp_path / "checkout/new").touch()
    with RegistryServer().serving() as server:
        with pytest.raises(ImageError, match="commit or remove them"):
            _publish(server, tmp_path, "--require-clean")
        with Registry(server.host) as registry:
            assert _digest_of(registry, image.image.digest) is None


def test_a_bill_of_another_image_is_refused(tmp_path: pathlib.Path, image: Layout) -> None:
    bill = sbom({"image": "small", "packages": []}, f"sha256:{'0' * 64}")
    (tmp_path / "small.sbom/sbom.cdx.json").write_bytes(bill)
    with (
        RegistryServer().serving() as server,
        pytest.raises(ImageError, match="the bill of materials is of"),
    ):
        _publish(server, tmp_path)
