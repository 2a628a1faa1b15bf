"""What the workflows of training and of kind do beside the gates, with real files, processes and a registry."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tests.oci.distribution import tiny_layouts
from tests.oci.distribution.registry_server import RegistryServer
from tools.ci.workflows import train
from tools.oci.distribution import push
from tools.oci.distribution.client import Registry
from tools.oci.image.layout import Layout

ROOT = pathlib.Path(__file__).parents[3]
IMAGE = f"registry.example/a/training@sha256:{'a' * 64}"
SEAL = f"sha256:{'b' * 64}"
# Stands for Bazel: keeps what it was told, and what the kubeconfig held, and says what a watch says at its end.
BAZEL = """#!/bin/sh
printf '%s\\n' "$*" >> told
for word; do
  case $last in
    --kubeconfig) stat -c %a "$word" > mode; cp "$word" held ;;
    --file) echo 'training-worker-0 accuracy 0.9' > "$word" ;;
  esac
  last=$word
done
case "$*" in *" watch "*) echo "${SAYS:-nothing}" ;; *render*) echo 'kind: PyTorchJob' ;; esac
exit ${CODE:-0}
"""


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    """A checkout with our scripts, a job, and what stands for Bazel."""
    root = tmp_path / "checkout"
    for name in ("ci", "oci"):
        shutil.copytree(ROOT / "tools" / name, root / "tools" / name)
    (root / "job.yaml").write_text("name: news\n", encoding="utf-8")
    (root / "tools/bazel").write_text(BAZEL, encoding="utf-8")
    (root / "tools/bazel").chmod(0o755)
    return root


def _run(
    checkout: pathlib.Path, *arguments: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", "tools/ci/workflows/train.py", *arguments],
        cwd=checkout,
        env={"PATH": os.environ["PATH"], **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def _told(checkout: pathlib.Path) -> list[str]:
    return (checkout / "told").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("by", ["tag", "digest"])
def test_the_image_is_pulled_and_its_digest_told(
    checkout: pathlib.Path, tmp_path: pathlib.Path, by: str
) -> None:
    layout = tiny_layouts.write(tmp_path / "pushed", [b"layer"])
    with RegistryServer().serving() as server:
        with Registry(server.host, actions="pull,push") as registry:
            push.push(registry, "me/training", layout.path, tags=("main-1",))
        pinned = f"{server.host}/me/training@{layout.image.digest}"
        given = pinned if by == "digest" else ""
        settings = {
            "IMAGE_REPOSITORY": f"{server.host}/me",
            "REGISTRY_USER": "a",
            "REGISTRY_TOKEN": "b",
            "GITHUB_OUTPUT": str(tmp_path / "output"),
        }
        words = ("image", "--given", given, "--tag", "main-1", "--out", "runs/train")
        done = _run(checkout, *words, **settings)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "output").read_text(encoding="utf-8") == f"image={pinned}\n"
    assert Layout.open(checkout / "runs/train/layout").image == layout.image


def test_an_image_that_main_has_not_pushed_is_one_line(
    checkout: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    with RegistryServer().serving() as server:
        settings = {
            "IMAGE_REPOSITORY": f"{server.host}/me",
            "REGISTRY_USER": "a",
            "REGISTRY_TOKEN": "b",
        }
        words = ("image", "--given", "", "--tag", "main-1", "--out", "runs/train")
        done = _run(checkout, *words, **settings)
    assert done.returncode == 2
    assert "the registry has no such image" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("see that `images` has passed for this commit")


def test_the_objects_are_rendered_with_the_digest_and_held_to_their_rules(
    checkout: pathlib.Path,
) -> None:
    done = _run(checkout, "render", "--job=job.yaml", f"--image={IMAGE}", "--out=runs/train")
    assert done.returncode == 0, done.stderr
    objects = checkout / "runs/train/objects.yaml"
    assert objects.read_text(encoding="utf-8") == "kind: PyTorchJob\n"
    assert _told(checkout) == [
        f"run //launch:render -- job.yaml --set image={IMAGE}",
        "run //launch:check -- runs/train/objects.yaml",
    ]


def test_what_is_tried_is_the_image_by_its_digest(checkout: pathlib.Path) -> None:
    layout = tiny_layouts.write(checkout / "runs/train/layout", [b"layer"])
    assert _run(checkout, "proof", "--out=runs/train").returncode == 0
    overlay = (checkout / "runs/train/overlay/kustomization.yaml").read_text(encoding="utf-8")
    assert "  - ../../../k8s/overlays/local\n" in overlay
    assert f"    digest: {layout.image.digest}\n" in overlay
    assert _told(checkout) == [
        "run //launch:proof -- --directory runs/train/proof --kustomization runs/train/overlay "
        f"--image {train.OVERLAYS_IMAGE}=runs/train/layout"
    ]


def test_a_rule_that_does_not_hold_stops_the_run(checkout: pathlib.Path) -> None:
    words = ("render", "--job=job.yaml", f"--image={IMAGE}", "--out=runs/train")
    done = _run(checkout, *words, CODE="2")
    assert done.returncode == 2
    assert done.stderr.endswith(" ended with 2\n")


def test_the_kubeconfig_is_handed_on_in_a_file_that_only_its_owner_reads_and_is_gone(
    checkout: pathlib.Path,
) -> None:
    words = ("--job=job.yaml", f"--image={IMAGE}")
    settings = {"KUBECONFIG_CONTENT": "users: []\n"}
    assert _run(checkout, "launch", *words, **settings).returncode == 0
    done = _run(
        checkout, "watch", *words, "--out=runs/train", **settings, SAYS=f"seal {SEAL} /runs"
    )
    assert done.returncode == 0, done.stderr
    assert (checkout / "held").read_text(encoding="utf-8") == "users: []\n"
    assert (checkout / "mode").read_text(encoding="utf-8") == "600\n"
    for told in _told(checkout):
        assert not pathlib.Path(told.split("--kubeconfig ")[1]).exists()
    assert _told(checkout)[0].startswith(
        f"run //launch -- launch job.yaml --set image={IMAGE} --yes --kubeconfig /"
    )

    assert _run(checkout, "verify", "--expected=", "--out=runs/train").stdout == f"seal {SEAL}\n"
    done = _run(checkout, "verify", f"--expected={SEAL}", "--out=runs/train")
    assert done.stdout == f"seal {SEAL}, as expected\n"
    done = _run(checkout, "verify", f"--expected=sha256:{'c' * 64}", "--out=runs/train")
    assert (done.returncode, done.stderr) == (
        2,
        f"error: the seal is {SEAL}, not sha256:{'c' * 64}\n",
    )

    summary = checkout / "summary"
    _run(checkout, "summary", *words, "--out=runs/train", GITHUB_STEP_SUMMARY=str(summary))
    text = summary.read_text(encoding="utf-8")
    assert f"| seal | `{SEAL}` |" in text and f"| image | `{IMAGE}` |" in text
    assert "accuracy 0.9" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("image", "--given=a:1", "--tag=", "--out=o"), "it must be pinned: NAME@sha256:…"),
        (("render", "--job=../job.yaml", f"--image={IMAGE}", "--out=o"), "in this repository"),
        (("render", "--job=--help", f"--image={IMAGE}", "--out=o"), "in this repository"),
        (("render", "--job=no.yaml", f"--image={IMAGE}", "--out=o"), "in this repository"),
        (("render", "--job=job.yaml", "--image=a:1", "--out=o"), "it must be pinned"),
        (("launch", "--job=job.yaml", f"--image={IMAGE}"), "KUBECONFIG_CONTENT is not set"),
        (("verify", "--expected=", "--out=o"), "0 seals were told"),
        (("verify", "--expected=1", "--out=o"), "the seal to be is '1'"),
    ],
)
def test_what_cannot_be_is_one_line(
    checkout: pathlib.Path, words: tuple[str, ...], said: str
) -> None:
    done = _run(checkout, *words)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (checkout / "told").exists()


def test_the_image_of_the_overlays_is_named_alike_everywhere() -> None:
    base = (ROOT / "k8s/base/kustomization.yaml").read_text(encoding="utf-8")
    assert f"newName: {train.OVERLAYS_IMAGE}\n" in base
