"""What docker/Dockerfile builds is what the rules build; buildah builds it here, from a local Debian.

Wants root, buildah, debootstrap and a network: see the tags. RETORT_BUILDER_ROOTFS names a Debian 12 with Python 3.11
and pip to take instead of a fresh one, IMAGE the program.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from tests.oci.dockerfile.buildah import Buildah, PipAccess, bootstrap
from tests.oci.dockerfile.rootfs import Rootfs, differences, from_directory, from_layout
from tools.oci.dockerfile.requirements import PROGRAMS
from tools.oci.image.layout import Layout

ROOT = pathlib.Path(__file__).resolve().parents[3]
RULES = pathlib.Path(__file__).parents[3] / "docker"  # among the runfiles
PREFIX = "opt/retort"
SITE_PACKAGES = f"{PREFIX}/lib/python3.11/site-packages"
CODE_CHANGE_BYTES = 5_000_000
IMAGE = os.environ["IMAGE"]
ARGUMENTS = {"BUILDER": "localhost/builder", "BASE": "localhost/builder", "REVISION": "abc"}


@pytest.fixture(scope="module")
def buildah() -> Iterator[Buildah]:
    """With an image `builder`, and the image built.

    What it mounts would be in Bazel's way among its own folders, if the test were killed.
    """
    folder = pathlib.Path(tempfile.mkdtemp(prefix="buildah-", dir="/var/tmp"))
    rootfs = pathlib.Path(os.environ.get("RETORT_BUILDER_ROOTFS", folder / "rootfs"))
    if not rootfs.is_dir():
        bootstrap(rootfs)
    made = Buildah(folder / "storage", PipAccess.of_this_machine())
    try:
        made.import_rootfs(rootfs, "builder")
        made.build(ROOT, IMAGE, ARGUMENTS)
        yield made
    finally:
        made.remove()
        shutil.rmtree(folder)


@pytest.fixture
def image() -> str:
    return IMAGE


def _files(buildah: Buildah, image: str, under: str = PREFIX) -> Rootfs:
    with buildah.mounted(image) as root:
        return from_directory(root, under)


def test_the_image_is_that_of_the_rules(buildah: Buildah, image: str) -> None:
    rules = from_layout(RULES / f"{image}_cpu", PREFIX)
    assert differences(rules, _files(buildah, image)) == []


def test_the_program_starts_as_nobody(buildah: Buildah, image: str) -> None:
    module = PROGRAMS[image].removeprefix("//python/").replace("/", ".").replace(":", ".")
    with buildah.mounted(image) as root:
        command = [
            "/usr/sbin/chroot",
            "--userspec=65532:65532",
            str(root),
            f"/{PREFIX}/bin/python3",
        ]
        said = subprocess.run(
            [*command, "-m", module, "--help"], capture_output=True, text=True, check=True
        ).stdout
    assert said.startswith("usage:")


def test_neither_installers_nor_programs_are_in_it(buildah: Buildah, image: str) -> None:
    files = _files(buildah, image)
    assert f"{SITE_PACKAGES}/torch/__init__.py" in files
    assert f"{SITE_PACKAGES}/pip/__init__.py" not in files
    assert [path for path in files if path.startswith(f"{PREFIX}/bin/")] == [
        f"{PREFIX}/bin/python3"
    ]
    by_pip = re.compile(rf"{SITE_PACKAGES}/[^/]+/(INSTALLER|REQUESTED|direct_url\.json)")
    assert not any(by_pip.fullmatch(path) for path in files)


def test_every_directory_is_open_to_its_user(buildah: Buildah, image: str) -> None:
    modes = {node.mode for node in _files(buildah, image).values() if node.kind == "directory"}
    assert modes == {0o755}


def test_the_configuration_is_that_of_the_rules(
    buildah: Buildah, image: str, tmp_path: pathlib.Path
) -> None:
    buildah.export(image, tmp_path / "layout")
    config = Layout.open(tmp_path / "layout").config["config"]
    rules = Layout.open(RULES / f"{image}_cpu").config["config"]
    assert rules["User"] == "65532:65532"
    for key in ("User", "Entrypoint", "Cmd", "WorkingDir"):
        assert config[key] == rules[key]
    assert set(config["Env"]) == set(rules["Env"])
    assert config.get("ExposedPorts") == rules.get("ExposedPorts")
    assert config["Labels"]["org.opencontainers.image.revision"] == "abc"


def test_a_change_of_our_code_leaves_the_packages_alone(
    buildah: Buildah, image: str, tmp_path: pathlib.Path
) -> None:
    ignored = shutil.ignore_patterns(".git", "bazel-*", "runs")
    shutil.copytree(ROOT, tmp_path / "checkout", ignore=ignored)
    changed = tmp_path / "checkout/python/retort/core/digest.py"
    changed.write_text(changed.read_text() + "\n# one more line\n")
    buildah.build(tmp_path / "checkout", image, ARGUMENTS, name="changed")
    blobs = {}
    for name in (image, "changed"):
        buildah.export(name, tmp_path / name)
        layout = Layout.open(tmp_path / name)
        blobs[name] = {blob.digest: blob.size for blob in layout.blobs}
    moved = [size for digest, size in blobs["changed"].items() if digest not in blobs[image]]
    assert 0 < sum(moved) < CODE_CHANGE_BYTES
