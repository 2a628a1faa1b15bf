"""`//launch:proof` on a cluster of this machine: one seal, or a line that says that there are two."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from retort.core.errors import UserError, VerificationError
from retort.launch.cluster.cluster import Cluster
from tests.launch.cluster.node.pods import need_namespaces
from tests.launch.cluster.training.jobs import K8S, job_recipe, training_cluster
from tools.kubernetes.proof import main


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    need_namespaces()
    with training_cluster(tmp_path / "machine") as found:
        yield found


def _kustomization(root: Path, *arguments: str) -> Path:
    """The overlay `local` with the tiny recipe, and with further arguments of the trainer."""
    container = "/spec/pytorchReplicaSpecs/Worker/template/spec/containers/0"
    patches: list[tuple[str, str, object]] = [
        ("replace", f"{container}/resources/requests", {"cpu": "1m", "memory": "1Mi"}),
        *(("add", f"{container}/args/-", word) for word in arguments),
    ]
    listed = [{"op": op, "path": path, "value": value} for op, path, value in patches]
    place = root / "overlay"
    place.mkdir()
    (place / "recipe.yaml").write_bytes(job_recipe(root / "recipe", 40).read_bytes())
    kustomization = {
        "resources": [os.path.relpath(K8S / "overlays" / "local", os.path.realpath(place))],
        "configMapGenerator": [
            {"name": "training-recipe", "behavior": "replace", "files": ["recipe.yaml"]}
        ],
        "patches": [{"target": {"kind": "PyTorchJob"}, "patch": json.dumps(listed)}],
    }
    (place / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
    return place


def _flags(cluster: Cluster, root: Path, kustomization: Path) -> list[str]:
    flags = ["--directory", str(root / "proof"), "--kubeconfig", str(cluster.kubeconfig)]
    return [*flags, "--kustomization", str(kustomization), "--json"]


def test_pods_of_which_one_is_removed_have_the_seal_of_one_process(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_flags(cluster, tmp_path, _kustomization(tmp_path))) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seal"] == found["plain"]
    assert (found["pods"], found["killed"]) == (2, "training-worker-1")


def test_another_seed_in_the_pods_is_found(cluster: Cluster, tmp_path: Path) -> None:
    overlay = _kustomization(tmp_path, "--set", "train.seed=1")
    with pytest.raises(VerificationError, match=r"the job's seal is sha256:\w+, and that of one"):
        main(_flags(cluster, tmp_path, overlay))


def test_what_has_no_job_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("configMapGenerator: [{name: a}]\n")
    with pytest.raises(UserError, match="--kustomization has 0 PyTorchJobs; one is what"):
        main(_flags(cluster, tmp_path, tmp_path))
