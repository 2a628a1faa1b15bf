"""What the rules make of files, wheels and sources: the images beside this test are made by Bazel."""

import json
import pathlib
import shutil
import tarfile

import pytest

from retort.core.seal import verify
from tools.oci.attest.sbom import sbom
from tools.oci.image.layout import Layout

_HERE = pathlib.Path(__file__).parents[1]
_SITE_PACKAGES = "opt/retort/lib/python3.11/site-packages"


def _members(image: Layout) -> dict[str, list[tarfile.TarInfo]]:
    """The members of each layer, by the layer's name."""
    found = {}
    for layer in image.layers:
        with tarfile.open(image.blob(layer.digest)) as archive:
            found[layer.annotations["org.retort.layer"]] = archive.getmembers()
    return found


def _files(members: list[tarfile.TarInfo]) -> set[str]:
    return {member.name for member in members if not member.isdir()}


@pytest.mark.parametrize("name", ["small_base", "small_image", "arm_image"])
def test_a_layout_is_whole_and_its_digest_stands_beside_it(name: str) -> None:
    image = Layout.open(_HERE / name)
    assert image.problems() == []
    assert (_HERE / f"{name}.digest").read_text() == f"{image.image.digest}\n"


def test_an_image_takes_over_the_layers_and_the_configuration_of_its_base() -> None:
    base, image = Layout.open(_HERE / "small_base"), Layout.open(_HERE / "small_image")
    assert image.layers[: len(base.layers)] == base.layers
    config = image.config["config"]
    assert config["Env"] == ["A=image", "PATH=/bin"]
    assert config["Entrypoint"] == ["small_program"]
    assert config["Cmd"] == ["--quiet"]
    assert config["User"] == "65532:65532"
    assert config["ExposedPorts"] == {"8080/tcp": {}}
    assert config["Labels"] == {
        "org.opencontainers.image.title": "small",
        "org.opencontainers.image.version": "1.2.0",
    }
    annotations = image.manifest["annotations"]
    assert annotations["org.opencontainers.image.base.digest"] == base.image.digest


def test_files_and_links_lie_where_they_were_put() -> None:
    members = {
        member.name: member for member in _members(Layout.open(_HERE / "small_base"))["program"]
    }
    assert set(members) == {
        "bin",
        "etc",
        "etc/small_program.conf",
        "usr",
        "usr/bin",
        "usr/bin/small_program",
    }
    assert members["usr/bin/small_program"].mode == 0o755
    assert members["etc/small_program.conf"].mode == 0o644
    assert members["bin"].linkname == "usr/bin"


def test_wheels_lie_in_one_site_packages_each_in_one_layer() -> None:
    layers = _members(Layout.open(_HERE / "small_image"))
    assert list(layers) == ["program", "small_yaml", "typing", "small_packages", "small_sources"]
    assert f"{_SITE_PACKAGES}/yaml/__init__.py" in _files(layers["small_yaml"])
    assert f"{_SITE_PACKAGES}/typing_extensions.py" in _files(layers["typing"])
    assert f"{_SITE_PACKAGES}/packaging/version.py" in _files(layers["small_packages"])
    assert _files(layers["small_sources"]) == {f"{_SITE_PACKAGES}/tests/oci/small_app.py"}
    files = [name for members in layers.values() for name in _files(members)]
    assert len(files) == len(set(files))
    assert not [name for name in files if "__pycache__" in name]


def test_another_architecture_is_accepted() -> None:
    config = Layout.open(_HERE / "arm_image").config
    assert (config["architecture"], config["os"], config["variant"]) == ("arm64", "linux", "v8")


def test_a_bill_of_materials_is_sealed_with_image_and_lock(tmp_path: pathlib.Path) -> None:
    digest = (_HERE / "small_image.digest").read_text().strip()
    # A sandbox shows files as links, which a sealed directory must not hold.
    shutil.copytree(_HERE / "small.sbom", tmp_path / "small.sbom")
    sealed = verify(tmp_path / "small.sbom", kind="sbom")
    assert sealed.manifest.inputs.keys() == {"image", "cpu.lock"}
    assert sealed.manifest.inputs["image"] == digest
    contents = json.loads(sealed.read("contents.json"))
    assert [package["name"] for package in contents["packages"]] == [
        "packaging",
        "pyyaml",
        "typing-extensions",
    ]
    assert all(len(package["sha256"]) == 64 for package in contents["packages"])
    assert sealed.read("sbom.cdx.json") == sbom(contents, digest)
