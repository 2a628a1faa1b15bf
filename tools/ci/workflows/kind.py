"""What the workflow `kind` does: `kind.py up|operators|train|tell --out DIR`, one after the other.

`up` makes a cluster in containers and gives its node the image whose layout is in `DIR/layout`; `operators` installs
the training operator and the trainer, of pinned commits; `train` runs the overlay `local` by the one and a job file by
the other, to the seal of a plain run; `tell` keeps what the cluster has to say. Wants docker and kind, as GitHub's
runners have them. Only the standard library of Python 3.11 is used here.
"""

import argparse
import json
import pathlib
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(CHECKOUT))

from tools.ci.workflows.train import OVERLAYS_IMAGE, write_overlay  # noqa: E402
from tools.oci import errors  # noqa: E402
from tools.oci.distribution.load import save  # noqa: E402
from tools.oci.errors import ImageError  # noqa: E402
from tools.oci.image.layout import Layout  # noqa: E402

NAME = "retort"
_MANIFESTS = "https://github.com/kubeflow/trainer//manifests/overlays"
OPERATORS = {
    "training-operator v1.9.4": (
        f"{_MANIFESTS}/standalone?ref=4445c12aa62e4345b0c2c6ac9b215a70eca46ed7",
        "kubeflow",
    ),
    # It brings JobSet v0.12.0.
    "trainer v2.3.0": (
        f"{_MANIFESTS}/manager?ref=658725bdae5c7e3a0854d93ac6ff492e109a22ab",
        "kubeflow-system",
    ),
}
_SEAL = re.compile(r"^seal (sha256:[0-9a-f]{64}) ", re.MULTILINE)
_JOB = "by-trainer"
_OF_JOBSET = f"--selector=jobset.sigs.k8s.io/jobset-name={_JOB}"
# Nobody provisions a claim for several nodes in kind, so there is a volume for it.
_VOLUMES = "".join(f"""---
apiVersion: v1
kind: PersistentVolume
metadata:
  name: {name}
spec:
  accessModes: [ReadWriteMany]
  capacity:
    storage: 20Gi
  storageClassName: standard
  hostPath:
    path: /var/runs/{name}
    type: Directory
""" for name in ("first", "second"))


def _run(*command: str, stdin: str | None = None, may_fail: bool = False) -> str:
    """What a command prints.

    Raises:
        ImageError: it failed.
    """
    print(f"+ {shlex.join(command)}", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(
            command, cwd=CHECKOUT, input=stdin, stdout=subprocess.PIPE, text=True, check=False
        )
    except OSError as error:
        raise ImageError(f"{command[0]} cannot be started: {error.strerror}") from error
    if done.returncode and not may_fail:
        raise ImageError(f"{shlex.join(command)} ended with {done.returncode}")
    return done.stdout


def _kubectl(out: pathlib.Path, *words: str, stdin: str | None = None) -> str:
    return _run("kubectl", f"--kubeconfig={out / 'kubeconfig'}", *words, stdin=stdin)


def up(out: pathlib.Path) -> None:
    """Make the cluster, with the image and places for runs on its node."""
    layout = Layout.open(out / "layout")
    archive = (out / "image.tar").resolve()
    # A node has it by a tag, for which no registry is asked.
    tag = layout.image.digest.removeprefix("sha256:")
    save(layout, f"{OVERLAYS_IMAGE}:{tag}", archive)
    _run(
        "kind",
        "create",
        "cluster",
        "--name",
        NAME,
        "--kubeconfig",
        str(out / "kubeconfig"),
        "--wait",
        "5m",
    )
    _run("kind", "load", "image-archive", str(archive), "--name", NAME)
    archive.unlink()
    node = f"{NAME}-control-plane"
    places = ("/var/runs/first", "/var/runs/second")
    # A volume of the host has no group that a pod could ask for.
    _run("docker", "exec", node, "install", "-d", "-o", "65532", "-g", "65532", *places)
    _kubectl(out, "apply", "--filename=-", stdin=_VOLUMES)
    write_overlay(out, f"newTag: {tag}")


def operators(out: pathlib.Path) -> None:
    """Install the operators and wait until they answer; `out/operators.txt` has the digests of their images."""
    for name, (manifests, namespace) in OPERATORS.items():
        print(name, flush=True)
        _kubectl(out, "apply", "--server-side", f"--kustomize={manifests}")
        ready = ("--for=condition=Available", "--timeout=10m")
        _kubectl(out, "wait", "deployment", "--all", f"--namespace={namespace}", *ready)
    pods = json.loads(_kubectl(out, "get", "pods", "--all-namespaces", "--output=json"))["items"]
    images = {
        f"{one['image']} {one['imageID']}"
        for pod in pods
        for one in pod["status"].get("containerStatuses") or []
    }
    (out / "operators.txt").write_text(
        "".join(f"{one}\n" for one in sorted(images)), encoding="utf-8"
    )


def train(out: pathlib.Path) -> None:
    """Train by each operator.

    Raises:
        ImageError: a job failed, or a seal differs from that of one process.
    """
    words = ("--kubeconfig", str(out / "kubeconfig"), "--kustomization", str(out / "overlay"))
    said = _run(
        *("./tools/bazel", "run", "//launch:proof", "--", "--json"),
        *("--directory", str(out / "proof"), *words),
    )
    seal = json.loads(said.splitlines()[-1])["plain"]
    print(f"training operator: {seal}", flush=True)
    _kubectl(out, "apply", "--filename=-", stdin=_by_trainer(out))
    ended = ("--for=condition=Complete", "--timeout=45m")
    _kubectl(out, "wait", f"trainjob/{_JOB}", *ended)
    said = _kubectl(out, "logs", "--tail=-1", _OF_JOBSET)
    found = set(_SEAL.findall(said))
    if found != {seal}:
        raise ImageError(
            f"by the trainer the seals are {sorted(found)}, by one process it is {seal}"
        )
    print(f"trainer: {seal}", flush=True)


def _by_trainer(out: pathlib.Path) -> str:
    """The same recipe as a TrainJob, of the image that the node has."""
    digest = Layout.open(out / "layout").image.digest
    pinned = f"{OVERLAYS_IMAGE}@{digest}"
    job = {
        "name": _JOB,
        "image": pinned,
        "recipe": str(out / "recipe.yaml"),
        "nodes": 2,
        "processes": 2,
        "cpu": "500m",
        "memory": "4Gi",
        "runs": {"claim": f"{_JOB}-runs", "size": "20Gi"},
    }
    recipe = (CHECKOUT / "k8s/base/recipe.yaml").read_text(encoding="utf-8")
    (out / "recipe.yaml").write_text(recipe, encoding="utf-8")
    file = out / "job.yaml"
    file.write_text(json.dumps(job), encoding="utf-8")  # which is YAML, too
    rendered = _run("./tools/bazel", "run", "//launch:render", "--", str(file), "--operator", "v2")
    return rendered.replace(pinned, f"{OVERLAYS_IMAGE}:{digest.removeprefix('sha256:')}")


def tell(out: pathlib.Path) -> None:
    """Keep what pods and operators have said, and what happened, in `out/cluster`."""
    _run("kind", "export", "logs", str(out / "cluster"), "--name", NAME, may_fail=True)
    for words in (("get", "pods,jobs,events", "--all-namespaces"), ("describe", "pods")):
        print(
            _run("kubectl", f"--kubeconfig={out / 'kubeconfig'}", *words, may_fail=True), flush=True
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one step.

    Raises:
        ImageError: it cannot be done.
    """
    parser = argparse.ArgumentParser(prog="tools/ci/workflows/kind.py", description=__doc__)
    steps = {"up": up, "operators": operators, "train": train, "tell": tell}
    parser.add_argument("step", choices=steps)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    options = parser.parse_args(arguments)
    steps[options.step](options.out)


if __name__ == "__main__":
    errors.run(main)
