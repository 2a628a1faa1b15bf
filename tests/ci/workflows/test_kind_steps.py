"""What the workflow `kind` asks of docker, kind, kubectl and our programs, each of which something stands for."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tests.oci.distribution import tiny_layouts
from tools.ci.workflows.train import OVERLAYS_IMAGE
from tools.oci.image.layout import Layout

ROOT = pathlib.Path(__file__).parents[3]
SEAL = f"sha256:{'b' * 64}"
# Keeps what it was told, with what came on standard input, and answers what is asked here.
PROGRAM = """#!/bin/sh
name=$(basename "$0")
printf '%s\\n' "$name $*" >> told
case "$name $*" in
  *--filename=-*) cat >> applied ;;
  *"kind load"*) test -s "$3" && echo loaded >> told ;;
  *"get pods"*) echo '{"items": [{"status": {"containerStatuses": [{"image": "a:1", "imageID": "a@b"}]}}]}' ;;
  *" logs "*) echo "seal ${SAYS} /runs" ;;
  *launch:proof*) echo '{"plain": "'$SEAL'"}' ;;
  *launch:render*) cat "$4" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    root = tmp_path / "checkout"
    for name in ("ci", "oci"):
        shutil.copytree(ROOT / "tools" / name, root / "tools" / name)
    (root / "k8s/base").mkdir(parents=True)
    shutil.copyfile(ROOT / "k8s/base/recipe.yaml", root / "k8s/base/recipe.yaml")
    (root / "bin").mkdir()
    for path in (
        root / "tools/bazel",
        *(root / "bin" / one for one in ("kind", "docker", "kubectl")),
    ):
        path.write_text(PROGRAM, encoding="utf-8")
        path.chmod(0o755)
    return root


@pytest.fixture
def layout(checkout: pathlib.Path) -> Layout:
    return tiny_layouts.write(checkout / "runs/kind/layout", [b"layer"])


def _run(checkout: pathlib.Path, step: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", "tools/ci/workflows/kind.py", step, "--out=runs/kind"],
        cwd=checkout,
        env={"PATH": f"{checkout / 'bin'}:{os.environ['PATH']}", "SEAL": SEAL, **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def _told(checkout: pathlib.Path) -> list[str]:
    return (checkout / "told").read_text(encoding="utf-8").splitlines()


def test_the_node_gets_the_image_and_the_overlay_names_it_as_the_node_does(
    checkout: pathlib.Path, layout: Layout
) -> None:
    done = _run(checkout, "up")
    assert done.returncode == 0, done.stderr
    assert "loaded" in _told(checkout)
    tag = layout.image.digest.removeprefix("sha256:")
    overlay = (checkout / "runs/kind/overlay/kustomization.yaml").read_text(encoding="utf-8")
    assert "  - ../../../k8s/overlays/local\n" in overlay
    assert f"  - name: {OVERLAYS_IMAGE}\n    newTag: {tag}\n" in overlay
    assert (checkout / "applied").read_text(encoding="utf-8").count("ReadWriteMany") == 2


def test_operators_are_of_commits_and_the_digests_of_their_images_are_kept(
    checkout: pathlib.Path, layout: Layout
) -> None:
    assert _run(checkout, "operators").returncode == 0
    applied = [line for line in _told(checkout) if "--kustomize=" in line]
    assert len(applied) == 2
    assert all(len(line.rpartition("?ref=")[2]) == 40 for line in applied)
    assert (checkout / "runs/kind/operators.txt").read_text(encoding="utf-8") == "a:1 a@b\n"


@pytest.mark.parametrize(("said", "code"), [(SEAL, 0), (f"sha256:{'c' * 64}", 2)])
def test_both_operators_lead_to_the_seal_of_one_process(
    checkout: pathlib.Path, layout: Layout, said: str, code: int
) -> None:
    done = _run(checkout, "train", SAYS=said)
    assert done.returncode == code, done.stderr
    tag = layout.image.digest.removeprefix("sha256:")
    assert f"{OVERLAYS_IMAGE}:{tag}" in (checkout / "applied").read_text(encoding="utf-8")
    if code:
        assert done.stderr.splitlines()[-1].startswith("error: by the trainer the seals are ")


def test_a_machine_without_kind_is_told_so(checkout: pathlib.Path, layout: Layout) -> None:
    (checkout / "bin/kind").unlink()
    done = _run(checkout, "up", PATH="")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: kind cannot be started: ")
