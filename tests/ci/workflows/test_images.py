"""What the workflow of images does beside its gate, with real files and processes."""

import json
import os
import pathlib
import subprocess
import sys
import tarfile

import pytest

from tools.ci.workflows import images
from tools.oci.image.layout import CONFIG, LAYER, MANIFEST, canonical_json, describe, write_layout

SCRIPT = pathlib.Path(__file__).parents[3] / "tools/ci/workflows/images.py"
PINNED = f"registry.example/scanner@sha256:{'a' * 64}"
# Stands in for the container engine: writes what it was told into the folder mounted at /reports.
DOCKER = """#!/bin/sh
for word; do
  case $word in
    --volume=*:/reports) folder=${word#--volume=}; folder=${folder%:/reports} ;;
    sarif=/reports/*) report=${word#sarif=/reports/} ;;
  esac
done
printf '%s\\n' "$@" >> "$folder/arguments"
printf '%s' "$SARIF" > "$folder/$report"
exit ${CODE:-0}
"""


def _layout(path: pathlib.Path, content: bytes) -> str:
    """Writes a layout of one layer; returns its digest."""
    config = canonical_json({"rootfs": {"type": "layers", "diff_ids": []}})
    layer, configuration = describe(LAYER, content), describe(CONFIG, config)
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "config": configuration.to_json(),
            "layers": [layer.to_json()],
        }
    )
    image = describe(MANIFEST, manifest)
    contents = {layer.digest: content, configuration.digest: config, image.digest: manifest}
    write_layout(path, image, {}, contents)
    return image.digest


@pytest.fixture
def pack(tmp_path: pathlib.Path) -> pathlib.Path:
    """A pack as `report` makes it."""
    path = tmp_path / "images.tar"
    with tarfile.open(path, "w") as archive:
        for image in ("training", "inference"):
            _layout(tmp_path / image, image.encode())
            archive.add(tmp_path / image, f"{image}/layout")
            for name in ("sbom.json", "provenance.json"):
                (tmp_path / name).write_text("{}")
                archive.add(tmp_path / name, f"{image}/{name}")
    return path


def _run(
    folder: pathlib.Path, *arguments: object, **settings: str
) -> subprocess.CompletedProcess[str]:
    docker = folder / "bin/docker"
    docker.parent.mkdir(exist_ok=True)
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        env={"PATH": f"{docker.parent}:{os.environ['PATH']}", **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def _scan(
    folder: pathlib.Path, pack: pathlib.Path, **changed: str
) -> subprocess.CompletedProcess[str]:
    settings = {
        "SCANNER_IMAGE": PINNED,
        "SCANNER_COMMAND": "oci-dir:{image} --output 'sarif={report}'",
        "SARIF": '{"runs": []}',
    } | changed
    return _run(folder, "scan", "--images", pack, "--out", folder / "scan", **settings)


def test_the_scanner_reads_each_image_and_leaves_sarif(
    tmp_path: pathlib.Path, pack: pathlib.Path
) -> None:
    done = _scan(tmp_path, pack)
    assert done.returncode == 0, done.stderr
    for image in ("training", "inference"):
        assert json.loads((tmp_path / f"scan/{image}.sarif").read_bytes()) == {"runs": []}
    told = (tmp_path / "scan/arguments").read_text().splitlines()
    assert told.count(PINNED) == 2
    assert "oci-dir:/images/training/layout" in told
    assert "--cap-drop=ALL" in told


@pytest.mark.parametrize(
    "image",
    [
        "scanner:latest",
        "scanner",
        f"scanner@sha256:{'a' * 63}",
        f"--privileged@sha256:{'a' * 64}",
    ],
)
def test_a_scanner_that_is_not_pinned_is_refused(
    tmp_path: pathlib.Path, pack: pathlib.Path, image: str
) -> None:
    done = _scan(tmp_path, pack, SCANNER_IMAGE=image)
    assert done.returncode == 2
    assert done.stderr.startswith("error: SCANNER_IMAGE is ")
    assert not (tmp_path / "scan/arguments").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"CODE": "3"}, "ended with 3"),
        ({"SARIF": "not json"}, "no SARIF"),
        ({"SARIF": "[]"}, "has no runs"),
        ({"SCANNER_COMMAND": ""}, "SCANNER_COMMAND is not set"),
    ],
)
def test_a_scan_that_failed_is_an_error(
    tmp_path: pathlib.Path, pack: pathlib.Path, changed: dict[str, str], message: str
) -> None:
    done = _scan(tmp_path, pack, **changed)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_damaged_pack_is_neither_scanned_nor_pushed(
    tmp_path: pathlib.Path, pack: pathlib.Path
) -> None:
    damaged = tmp_path / "damaged.tar"
    with tarfile.open(damaged, "w") as archive:
        for image in ("training", "inference"):
            layout = tmp_path / image
            next((layout / "blobs/sha256").iterdir()).write_bytes(b"other")
            archive.add(layout, f"{image}/layout")
    settings = {
        "IMAGE_REPOSITORY": "registry.example/a",
        "REGISTRY_USER": "u",
        "REGISTRY_TOKEN": "t",
    }
    for done in (
        _scan(tmp_path, damaged),
        _run(tmp_path, "push", "--images", damaged, "--tag", "a", **settings),
    ):
        assert done.returncode == 2
        assert "has other content" in done.stderr


def test_a_push_without_credentials_is_refused_and_says_which(
    tmp_path: pathlib.Path, pack: pathlib.Path
) -> None:
    done = _run(tmp_path, "push", "--images", pack, "--tag", "a", GITHUB_REPOSITORY="Me/Retort")
    assert done.returncode == 2
    assert done.stderr.startswith("error: REGISTRY_USER is not set")


def test_without_a_scanner_nothing_fails_and_a_notice_says_so(
    tmp_path: pathlib.Path, pack: pathlib.Path
) -> None:
    done = _scan(tmp_path, pack, SCANNER_IMAGE="", SCANNER_COMMAND="")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("::notice::no scanner is set")
    assert not (tmp_path / "scan").exists()


def test_images_go_to_the_registry_of_the_repository_unless_a_setting_says_another(
    tmp_path: pathlib.Path, pack: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_REPOSITORY", "Some-Body/Retort")
    monkeypatch.setenv("IMAGE_REPOSITORY", "")
    assert images.image_repository() == "ghcr.io/some-body/retort"
    monkeypatch.setenv("IMAGE_REPOSITORY", "registry.example/a")
    assert images.image_repository() == "registry.example/a"
    done = _run(tmp_path, "push", "--images", pack, "--tag", "a", IMAGE_REPOSITORY="off")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("::notice::IMAGE_REPOSITORY is off")


@pytest.mark.parametrize(
    ("revision", "version", "message"),
    [
        ("main", "", "error: the revision is 'main'"),
        ("a" * 40, "1.2 --flag", "error: the version is "),
        ("a" * 40, "--flag", "error: the version is "),
    ],
)
def test_a_label_is_a_commit_and_a_version(
    tmp_path: pathlib.Path, revision: str, version: str, message: str
) -> None:
    done = _run(
        *(tmp_path, "label", "--source=https://host.example/a/b"),
        *(f"--revision={revision}", f"--version={version}"),
    )
    assert done.returncode == 2
    assert done.stderr.startswith(message)


def test_a_pack_cannot_write_outside(tmp_path: pathlib.Path) -> None:
    (tmp_path / "evil").write_text("evil")
    pack = tmp_path / "pack.tar"
    with tarfile.open(pack, "w") as archive:
        archive.add(tmp_path / "evil", "../../evil-written")
    done = _scan(tmp_path, pack)
    assert done.returncode == 2
    assert "would be written outside" in done.stderr
