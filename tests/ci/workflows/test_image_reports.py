"""What the job that builds images hands on: reports, and a pack that the jobs after it read."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.oci.distribution.registry_server import RegistryServer
from tests.oci.small_images import SmallLayer, write_image
from tools.ci.workflows import image_reports, images
from tools.oci.errors import ImageError

REPORTS = ("html", "json", "provenance.json", "sbom.json")


def _git(checkout: pathlib.Path, *arguments: str) -> None:
    settings = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *settings, *arguments], cwd=checkout, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "checkout"
    for lock in ("third_party/requirements/cpu.lock", "third_party/debian/base.lock"):
        (path / lock).parent.mkdir(parents=True)
        (path / lock).write_text("a==1\n")
    _git(path, "init", "--quiet")
    _git(path, "add", ".")
    _git(path, "commit", "--quiet", "--message=first")
    return path


def _build(folder: pathlib.Path, app: int) -> None:
    """Leaves what the rules leave of both images."""
    for image in images.IMAGES:
        path = folder / f"{image}_cpu"
        layers = [SmallLayer("base", {"a": b"a"}), SmallLayer("app", {"b": b"b" * app})]
        layout = write_image(path, layers)
        path.with_name(f"{path.name}.digest").write_text(f"{layout.image.digest}\n")
        package = {"type": "pypi", "name": "a", "version": "1", "sha256": "", "licence": "MIT"}
        path.with_name(f"{path.name}.contents.json").write_text(
            json.dumps({"image": f"retort-{image}", "packages": [package]})
        )


def _report(checkout: pathlib.Path, built: pathlib.Path) -> pathlib.Path:
    out = checkout.parent / "out"
    image_reports.main(
        [
            *(f"--checkout={checkout}", f"--built={built}"),
            *(f"--sizes={checkout.parent}/sizes", f"--out={out}"),
        ]
    )
    return out


def test_reports_say_what_each_image_is_of(
    checkout: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    _build(tmp_path / "built", 1)
    out = _report(checkout, tmp_path / "built")
    names = {f"{image}.{kind}" for image in images.IMAGES for kind in REPORTS}
    assert {path.name for path in (out / "reports").iterdir()} == names
    for image in images.IMAGES:
        provenance = json.loads((out / f"reports/{image}.provenance.json").read_bytes())
        assert provenance["subject"][0]["name"] == image
        used = provenance["predicate"]["buildDefinition"]["resolvedDependencies"]
        assert [one["name"] for one in used[1:]] == [
            "third_party/debian/base.lock",
            "third_party/requirements/cpu.lock",
        ]
        sbom = json.loads((out / f"reports/{image}.sbom.json").read_bytes())
        assert [one["name"] for one in sbom["components"]] == ["a"]
        assert f"### Image `retort-{image}`" in (tmp_path / "summary").read_text()


def test_a_job_without_packages_pushes_the_pack(
    checkout: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    _build(tmp_path / "built", 1)
    pack = _report(checkout, tmp_path / "built") / "images.tar"
    with RegistryServer().serving() as server:
        said = {f"repository={server.host}/retort"}
        settings = {
            "IMAGE_REPOSITORY": f"{server.host}/retort",
            "REGISTRY_USER": "a",
            "REGISTRY_TOKEN": "b",
            "GITHUB_OUTPUT": str(tmp_path / "outputs"),
        }
        done = subprocess.run(
            [sys.executable, "-I", "-S", images.__file__, "push", f"--images={pack}", "--tag=v1"],
            env={"PATH": os.environ["PATH"], **settings},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    for image in images.IMAGES:
        digest = (tmp_path / f"built/{image}_cpu.digest").read_text().strip()
        said.add(f"{image}={digest}")
        assert f"PUT /v2/retort/{image}/manifests/v1" in server.lines
        sbom = (pack.parent / f"reports/{image}.sbom.json").read_bytes()
        assert sbom in server.store.blobs.values()
    assert set((tmp_path / "outputs").read_text().split()) == said


def test_sizes_are_compared_with_those_of_the_build_before(
    checkout: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _build(tmp_path / "built", 1)
    _report(checkout, tmp_path / "built")
    assert "Against the previous image" not in capsys.readouterr().out
    _build(tmp_path / "larger", 300_000)
    out = _report(checkout, tmp_path / "larger")
    assert capsys.readouterr().out.count("Against the previous image: **+") == 2
    for image in images.IMAGES:
        kept = (tmp_path / f"sizes/{image}.json").read_bytes()
        assert kept == (out / f"reports/{image}.json").read_bytes()


def test_a_checkout_with_changes_is_refused(checkout: pathlib.Path, tmp_path: pathlib.Path) -> None:
    _build(tmp_path / "built", 1)
    (checkout / "new").write_text("new")
    with pytest.raises(ImageError, match="has changes that are not in commit"):
        _report(checkout, tmp_path / "built")
    assert not (tmp_path / "out").exists()


def test_an_image_that_was_not_built_is_said(
    checkout: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(ImageError, match="training_cpu"):
        _report(checkout, tmp_path / "built")
