import hashlib
import io
import json
import os
import pathlib
import tarfile

import pytest

from tests.oci.distribution import tiny_layouts
from tools.oci import errors
from tools.oci.distribution import load
from tools.oci.errors import ImageError
from tools.oci.image import layout
from tools.oci.image.layout import Layout

TAG = "localhost/retort/training:dev"


@pytest.fixture
def image(tmp_path: pathlib.Path) -> Layout:
    return tiny_layouts.write(tmp_path / "image", [b"base" * 1000, b"app", b"app"])


def members(content: bytes) -> dict[str, bytes]:
    """The archive's files, all read in one pass as an engine does."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(content), mode="r|") as archive:
        for member in archive:
            assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
            file = archive.extractfile(member)
            if file:
                assert member.name not in found
                found[member.name] = file.read()
    return found


def archived(image: Layout, tmp_path: pathlib.Path) -> bytes:
    path = tmp_path / "image.tar"
    load.main([f"--layout={image.path}", f"--tag={TAG}", f"--archive={path}"])
    assert not list(tmp_path.glob("*.partial"))
    return path.read_bytes()


def test_a_docker_archive_names_configuration_and_layers(
    image: Layout, tmp_path: pathlib.Path
) -> None:
    files = members(archived(image, tmp_path))
    (docker,) = json.loads(files["manifest.json"])
    assert docker["RepoTags"] == [TAG]
    assert json.loads(files[docker["Config"]]) == image.config
    digests = [f"sha256:{hashlib.sha256(files[name]).hexdigest()}" for name in docker["Layers"]]
    assert digests == image.config["rootfs"]["diff_ids"]


def test_the_same_archive_is_an_image_layout(image: Layout, tmp_path: pathlib.Path) -> None:
    content = archived(image, tmp_path)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(tmp_path / "unpacked")
    unpacked = Layout.open(tmp_path / "unpacked")
    assert unpacked.image.digest == image.image.digest
    assert unpacked.image.annotations[layout.REF_NAME] == TAG
    assert unpacked.problems() == []


def test_equal_images_give_equal_archives(image: Layout, tmp_path: pathlib.Path) -> None:
    again = tiny_layouts.write(tmp_path / "again", [b"base" * 1000, b"app", b"app"])
    os.utime(again.blob(again.layers[0].digest), (1, 1))
    assert archived(image, tmp_path) == archived(again, tmp_path)


@pytest.mark.parametrize("tag", ["name", "Name:tag", "name:", ":tag", "a b:c", "-a:b", "a:b\n"])
def test_a_bad_name_is_refused(image: Layout, tmp_path: pathlib.Path, tag: str) -> None:
    archive = tmp_path / "image.tar"
    with pytest.raises(ImageError, match="is not NAME:TAG"):
        load.main([f"--layout={image.path}", f"--tag={tag}", f"--archive={archive}"])
    assert not archive.exists()


def test_a_damaged_layout_is_not_archived(
    image: Layout, tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    blob = image.blob(image.layers[0].digest)
    blob.write_bytes(b"x" * blob.stat().st_size)
    archive = tmp_path / "image.tar"
    with pytest.raises(SystemExit) as exited:
        errors.run(
            lambda: load.main([f"--layout={image.path}", f"--tag={TAG}", f"--archive={archive}"])
        )
    assert exited.value.code == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "has other content" in line
    assert not archive.exists()


def test_what_old_engines_cannot_read_is_said(
    tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    media_type = f"{layout.LAYER}+zstd"
    image = tiny_layouts.write(tmp_path / "zstd", [b"x"], media_type=media_type)
    archived(image, tmp_path)
    assert "Docker before 23" in capfd.readouterr().err


def engine(directory: pathlib.Path, name: str, script: str) -> None:
    """A program in an engine's place, that keeps what it is given."""
    directory.mkdir(exist_ok=True)
    program = directory / name
    program.write_text(f'#!/bin/sh\nin="{directory}/loaded"\ncase "$1" in\n{script}\nesac\n')
    program.chmod(0o755)


WORKS = 'info) ;;\nload) cat > "$in" ;;\nimage) echo sha256:abc ;;'


def test_an_engine_is_given_the_very_archive(
    image: Layout,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    programs = tmp_path / "bin"
    engine(programs, "docker", "info) exit 1 ;;")
    engine(programs, "podman", WORKS)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    load.main([f"--layout={image.path}", f"--tag={TAG}"])
    assert (programs / "loaded").read_bytes() == archived(image, tmp_path)
    assert f"loaded {TAG} into podman as sha256:abc" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("info) exit 1 ;;", "docker: not installed, or not running"),
        ("info) ;;\nload) echo no >&2; echo space >&2; exit 3 ;;", r"load failed \(3\): space"),
        ('info) ;;\nload) cat > "$in" ;;\nimage) exit 1 ;;', f"as in localhost/{TAG}"),
    ],
)
def test_an_engine_that_fails_is_quoted(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    image = tiny_layouts.write(tmp_path / "large", [tiny_layouts.noise(1, 1 << 20)])
    engine(tmp_path / "bin", "docker", script)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with pytest.raises(ImageError, match=words) as raised:
        load.main([f"--layout={image.path}", f"--tag={TAG}", "--engine=docker"])
    assert "\n" not in str(raised.value)
