import json
import pathlib
from collections.abc import Iterator

import pytest

from tests.oci.distribution import tiny_layouts
from tests.oci.distribution.listed_referrers import referrers
from tests.oci.distribution.registry_server import RegistryServer
from tools.oci.distribution import push
from tools.oci.distribution.client import Registry
from tools.oci.distribution.referrers import Artifact, attach, fallback_tag
from tools.oci.errors import ImageError
from tools.oci.image import layout
from tools.oci.image.layout import Descriptor, Layout

REPOSITORY = "team/training"
SBOM, SIGNATURE = "application/vnd.example.sbom+json", "application/vnd.example.signature"


@pytest.fixture
def image(tmp_path: pathlib.Path) -> Layout:
    return tiny_layouts.write(tmp_path / "image", [b"layer"])


@pytest.fixture(params=[True, False], ids=["referrers-api", "fallback-tag"])
def server(
    request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RegistryServer]:
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with RegistryServer(has_referrers=request.param).serving() as serving:
        yield serving


def attach_to(server: RegistryServer, image: Layout, artifact_type: str) -> Descriptor:
    with Registry(server.host, actions="pull,push") as registry:
        artifact = Artifact(
            artifact_type, "application/json", b'{"a": 1}', {"org.example.kind": artifact_type}
        )
        return attach(registry, REPOSITORY, image.image, artifact)


def listed(server: RegistryServer, image: Layout) -> dict[str, str]:
    with Registry(server.host) as registry:
        entries = referrers(registry, REPOSITORY, image.image.digest)
    return {entry["digest"]: entry["artifactType"] for entry in entries}


def test_an_artifact_says_what_it_is_and_of_what(server: RegistryServer, image: Layout) -> None:
    artifact = attach_to(server, image, SBOM)
    media_type, content = server.store.manifests[REPOSITORY, artifact.digest]
    manifest = json.loads(content)
    assert media_type == manifest["mediaType"] == layout.MANIFEST
    assert manifest["artifactType"] == SBOM
    assert manifest["subject"]["digest"] == image.image.digest
    assert manifest["annotations"] == {"org.example.kind": SBOM}
    assert server.store.blobs[REPOSITORY, manifest["config"]["digest"]] == b"{}"
    assert manifest["config"]["mediaType"] == layout.EMPTY
    (document,) = manifest["layers"]
    assert server.store.blobs[REPOSITORY, document["digest"]] == b'{"a": 1}'
    assert document["mediaType"] == "application/json"


def test_what_is_attached_is_listed(server: RegistryServer, image: Layout) -> None:
    assert listed(server, image) == {}
    sbom, signature = attach_to(server, image, SBOM), attach_to(server, image, SIGNATURE)
    assert listed(server, image) == {sbom.digest: SBOM, signature.digest: SIGNATURE}
    has_tag = (REPOSITORY, fallback_tag(image.image.digest)) in server.store.tags
    assert has_tag is not server.has_referrers


def test_attaching_twice_changes_nothing(server: RegistryServer, image: Layout) -> None:
    attach_to(server, image, SBOM)
    manifests, tags = dict(server.store.manifests), dict(server.store.tags)
    attach_to(server, image, SBOM)
    assert (server.store.manifests, server.store.tags) == (manifests, tags)


def test_the_order_of_attaching_does_not_show(server: RegistryServer, image: Layout) -> None:
    attach_to(server, image, SBOM)
    attach_to(server, image, SIGNATURE)
    one = dict(server.store.tags)
    server.store.tags.clear()
    attach_to(server, image, SIGNATURE)
    attach_to(server, image, SBOM)
    assert server.store.tags == one


def test_a_push_attaches_files_before_it_moves_tags(
    server: RegistryServer, image: Layout, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "sbom:1.json").write_bytes(b"{}")
    push.main(
        [
            f"--layout={image.path}",
            f"--repository={server.host}/{REPOSITORY}",
            "--tag=v1",
            f"--attach={tmp_path}/sbom:1.json:{SBOM}:application/json",
            f"--attach={tmp_path}/sbom:1.json:{SIGNATURE}",
        ]
    )
    assert sorted(listed(server, image).values()) == [SBOM, SIGNATURE]
    stored = [line for line in server.lines if line.startswith("PUT")]
    assert stored[-1].endswith("/v1")


@pytest.mark.parametrize("text", ["file", "file:json", ":a/b", "file:a/b:", "file:a/b:c/d:e"])
def test_what_is_to_be_attached_needs_a_media_type(text: str) -> None:
    with pytest.raises(ImageError, match="is not FILE:ARTIFACT_TYPE"):
        push.attachment(text)


def test_a_missing_file_is_found_out_before_anything_is_sent(
    server: RegistryServer, image: Layout, tmp_path: pathlib.Path
) -> None:
    given = [f"--layout={image.path}", f"--repository={server.host}/{REPOSITORY}"]
    with pytest.raises(ImageError, match="No such file"):
        push.main([*given, f"--attach={tmp_path}/none:{SBOM}"])
    assert not server.lines


def test_a_fallback_tag_that_is_no_list_is_left_alone(
    server: RegistryServer, image: Layout
) -> None:
    with Registry(server.host, actions="pull,push") as registry:
        tag = fallback_tag(image.image.digest)
        push.push(registry, REPOSITORY, image.path, tags=[tag])
    before = dict(server.store.tags)
    if server.has_referrers:
        attach_to(server, image, SBOM)
    else:
        with pytest.raises(ImageError, match="is not an image index"):
            attach_to(server, image, SBOM)
    assert server.store.tags == before
