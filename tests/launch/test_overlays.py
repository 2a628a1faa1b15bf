"""`k8s/`: what kubectl makes of it, what overlays leave alone, and that names and patches reach a PyTorchJob."""

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from retort.core.config import load_recipe
from retort.train.recipe import TrainingRecipe
from tools.kubernetes.check import main
from tools.python.wheel_programs import wheel_program

K8S = Path(__file__).resolve().parents[2] / "k8s"
OVERLAYS = ("cpu", "gpu", "local", "metrics", "multinode", "queue", "spot", "timeslice")
JOB = "PyTorchJob"
MAY_CHANGE = {
    "cpu": {"nprocPerNode", "cpu", "memory"},
    "gpu": {"cpu", "memory"},
    "local": {"nprocPerNode", "minReplicas", "maxReplicas", "replicas", "cpu"},
    "metrics": {"args is longer", "ingress is longer"},
    "multinode": {"nprocPerNode", "minReplicas", "maxReplicas", "replicas"},
    "queue": set(),
    "spot": {
        *("nprocPerNode", "minReplicas", "maxReplicas", "replicas"),
        *("terminationGracePeriodSeconds", "GRACE_S"),
    },
    "timeslice": set(),
}
"""Numbers that an overlay is for, by their key or the name of the variable; all else of the base stays."""


def _render(directory: Path) -> dict[str, Any]:
    command = [wheel_program("kubectl"), "kustomize", str(directory)]
    text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return {one["kind"]: one for one in yaml.safe_load_all(text)}


@cache
def _overlay(name: str) -> dict[str, Any]:
    return _render(K8S / "overlays" / name)


def changed(base: Any, now: Any, at: str = "") -> Iterator[str]:
    """What of the base is another thing in an overlay: the key, or the name in a list of names."""
    if isinstance(base, dict) and isinstance(now, dict):
        for key, value in base.items():
            if key not in now:
                yield f"{key} is gone"
            else:
                yield from changed(value, now[key], base["name"] if key == "value" else key)
    elif isinstance(base, list) and isinstance(now, list):
        named = all(isinstance(one, dict) and "name" in one for one in [*base, *now])
        for number, value in enumerate(base):
            same = [one for one in now if one["name"] == value["name"]] if named else now[number:]
            if not same:
                yield f"{at}.{value} is gone"
            else:
                yield from changed(value, same[0], at)
        if not named and len(now) > len(base):
            yield f"{at} is longer"
    elif base != now:
        yield at


def test_every_overlay_is_known() -> None:
    assert sorted(path.name for path in (K8S / "overlays").iterdir()) == list(OVERLAYS)


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_only_adds_and_changes_the_numbers_that_it_is_for(name: str) -> None:
    base, now = _render(K8S / "base"), _overlay(name)
    assert base.keys() <= now.keys()
    found = {one for kind in base for one in changed(base[kind], now[kind], kind)}
    assert found == MAY_CHANGE[name]
    assert now != base


def test_what_an_overlay_would_take_away_is_found() -> None:
    base = _render(K8S / "base")[JOB]
    now = _render(K8S / "base")[JOB]
    pod = now["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]
    pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = False
    del pod["securityContext"]["runAsNonRoot"]
    pod["volumes"].pop(0)
    pod["containers"][0]["args"].append("--overwrite")
    found = list(changed(base, now))
    assert {"readOnlyRootFilesystem", "runAsNonRoot is gone", "args is longer"} <= set(found)
    assert any("'claimName': 'runs'" in one and one.endswith("is gone") for one in found)


def test_the_rules_find_nothing_in_any_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(K8S)]) == 0
    # The base, and each overlay.
    assert f"in {len(OVERLAYS) + 1} sets" in capsys.readouterr().out


def test_the_recipe_is_one_that_the_trainer_takes() -> None:
    recipe = load_recipe(TrainingRecipe, K8S / "base/recipe.yaml", [], K8S).config
    assert recipe.train.shards == 4


def _mine(directory: Path, text: str, **files: str) -> dict[str, Any]:
    """An overlay of a user, beside ours: kustomize reads bases by relative paths."""
    mine = directory / "k8s/overlays/mine"
    for source in K8S.rglob("*"):
        if source.is_file():
            target = directory / "k8s" / source.relative_to(K8S)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    mine.mkdir()
    (mine / "kustomization.yaml").write_text(text)
    for name, content in files.items():
        (mine / f"{name}.yaml").write_text(content)
    return _render(mine)


def _pod(found: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = found[JOB]["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]
    return pod


def _volumes(found: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one for one in _pod(found)["volumes"]}


def test_names_that_kustomize_changes_reach_the_volumes_of_a_pytorch_job(tmp_path: Path) -> None:
    found = _mine(tmp_path, "namePrefix: team-\nresources: [../multinode]\n")
    volumes = _volumes(found)
    recipe = found["ConfigMap"]["metadata"]["name"]
    assert recipe.startswith("team-training-recipe-")
    assert volumes["recipe"]["configMap"]["name"] == recipe
    assert volumes["runs"]["persistentVolumeClaim"]["claimName"] == "team-runs"
    assert found["PersistentVolumeClaim"]["metadata"]["name"] == "team-runs"


def test_a_label_of_one_job_reaches_its_pods_and_its_network_policy(tmp_path: Path) -> None:
    text = (
        "namePrefix: team-\n"
        "resources: [../multinode]\n"
        "labels: [{pairs: {app.kubernetes.io/instance: team}, includeSelectors: true}]\n"
    )
    found = _mine(tmp_path, text)
    template = found[JOB]["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
    labels = template["metadata"]["labels"]
    assert labels["app.kubernetes.io/instance"] == "team"
    policy = found["NetworkPolicy"]["spec"]
    (ingress,), (egress, _) = policy["ingress"], policy["egress"]
    (here,), (there,) = ingress["from"], egress["to"]
    for selector in (policy["podSelector"], here["podSelector"], there["podSelector"]):
        assert selector["matchLabels"] == labels
    assert main([str(tmp_path / "k8s/overlays/mine")]) == 0


def test_another_recipe_has_another_name(tmp_path: Path) -> None:
    generator = (
        "resources: [../multinode]\n"
        "configMapGenerator:\n"
        "  - name: training-recipe\n"
        "    behavior: replace\n"
        "    files: [recipe.yaml]\n"
    )
    found = _mine(tmp_path, generator, recipe="train: {steps: 1}\n")
    name = found["ConfigMap"]["metadata"]["name"]
    assert name != _overlay("multinode")["ConfigMap"]["metadata"]["name"]
    assert _volumes(found)["recipe"]["configMap"]["name"] == name


def test_a_patch_that_adds_one_variable_leaves_the_container_as_it_was(tmp_path: Path) -> None:
    patch = (
        "apiVersion: kubeflow.org/v1\nkind: PyTorchJob\nmetadata: {name: training}\n"
        "spec: {pytorchReplicaSpecs: {Worker: {template: {spec: {containers: ["
        "{name: pytorch, env: [{name: ADDED, value: here}]}]}}}}}\n"
    )
    text = "resources: [../multinode]\npatches: [{path: job.yaml}]\n"
    found = _mine(tmp_path, text, job=patch)
    (container,) = _pod(found)["containers"]
    (before,) = _pod(_overlay("multinode"))["containers"]
    assert {"name": "ADDED", "value": "here"} in container["env"]
    container["env"].remove({"name": "ADDED", "value": "here"})
    assert container == before


def test_components_go_together_and_an_image_is_set_by_its_digest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = f"sha256:{'cd' * 32}"
    names = "gpu", "multinode", "spot", "queue"
    text = (
        "resources: [../../base]\n"
        f"components: [{', '.join(f'../../components/{name}' for name in names)}]\n"
        "images: [{name: registry.example/retort-training, newName: mine.example/t, "
        f"digest: '{digest}'}}]\n"
        "patches: [{path: job.yaml}]\n"
    )
    gpus = "{resources: {requests: {nvidia.com/gpu: '2'}, limits: {nvidia.com/gpu: '2'}}}"
    patch = (
        "apiVersion: kubeflow.org/v1\nkind: PyTorchJob\nmetadata: {name: training}\n"
        "spec: {pytorchReplicaSpecs: {Worker: {template: {spec: {containers: ["
        f"{{name: pytorch, {gpus[1:-1]}}}]}}}}}}}}}}\n"
    )
    found = _mine(tmp_path, text, job=patch)
    pod = _pod(found)
    assert pod["containers"][0]["image"] == f"mine.example/t@{digest}"
    assert {one["key"] for one in pod["tolerations"]} >= {
        "nvidia.com/gpu",
        "cloud.google.com/gke-spot",
    }
    assert found[JOB]["spec"]["runPolicy"]["suspend"] is True
    assert main([str(tmp_path / "k8s/overlays/mine")]) == 0
    assert "checked 4 objects" in capsys.readouterr().out
