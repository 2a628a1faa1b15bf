"""kubectl before the cluster: apply, diff, patch and replace, and what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.launch.cluster.kubectl_cases import (
    POD_YAML,
    WEB,
    a_cluster,
    a_kubectl,
    changed,
    namespace_of,
    text_of,
)
from tests.launch.cluster.running import Kubectl

cluster = a_cluster()
kubectl = a_kubectl(elsewhere=True)
K8S = Path(__file__).resolve().parents[3] / "k8s"


def test_apply_makes_changes_prunes_and_leaves_alone(kubectl: Kubectl) -> None:
    made = kubectl.said("apply", "-f", "-", stdin=text_of(WEB))
    assert made.splitlines() == [
        "deployment.apps/web created",
        "service/web created",
        "configmap/settings created",
    ]
    again = kubectl.said("apply", "-f", "-", stdin=text_of(WEB))
    assert [line.split()[1] for line in again.splitlines()] == ["unchanged"] * 3
    less = json.loads(json.dumps(WEB))
    container = less[0]["spec"]["template"]["spec"]["containers"][0]
    container["image"] = "nginx:2"
    container["env"] = [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}]
    del less[0]["spec"]["template"]["spec"]["containers"][1]
    del less[2]["data"]["a"]
    kubectl.said("apply", "-f", "-", stdin=text_of(less))
    spec = kubectl.json("get", "deploy", "web")["spec"]["template"]["spec"]
    assert [one["name"] for one in spec["containers"]] == ["web"]
    assert spec["containers"][0]["image"] == "nginx:2"
    assert spec["containers"][0]["env"] == container["env"]
    assert spec["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    assert kubectl.json("get", "cm", "settings")["data"] == {"b": "2"}


def test_a_dry_run_on_the_server_changes_nothing(kubectl: Kubectl) -> None:
    said = kubectl.said("apply", "--dry-run=server", "-f", "-", stdin=text_of(WEB))
    assert said.count("created (server dry run)") == 3
    assert "NotFound" in kubectl.refused("get", "deploy", "web")
    kubectl.said("apply", "-f", "-", stdin=text_of(WEB))
    before = kubectl.json("get", "deploy", "web")
    patched = kubectl.said("apply", "--dry-run=server", "-f", "-", stdin=changed(replicas=7))
    assert "deployment.apps/web configured (server dry run)" in patched
    kubectl.said("delete", "deploy", "web", "--dry-run=server")
    assert kubectl.json("get", "deploy", "web") == before


@pytest.mark.parametrize("how", [(), ("--server-side",)])
def test_diff_shows_what_would_change_and_only_that(kubectl: Kubectl, how: tuple[str, ...]) -> None:
    kubectl.said("apply", *how, "-f", "-", stdin=text_of(WEB))
    same = kubectl("diff", *how, "-f", "-", stdin=text_of(WEB))
    assert (same.returncode, same.stdout) == (0, ""), same
    other = kubectl("diff", *how, "-f", "-", stdin=changed(replicas=5))
    assert other.returncode == 1
    lines = [line for line in other.stdout.splitlines() if re.match(r"[-+] ", line)]
    generations = ["-  generation: 1", "+  generation: 2"]
    assert lines == [*generations, "-  replicas: 2", "+  replicas: 5"]


def test_server_side_apply_names_conflicts_and_takes_fields_only_by_force(
    kubectl: Kubectl,
) -> None:
    kubectl.said("apply", "--server-side", "-f", "-", stdin=text_of(WEB))
    other = ("apply", "--server-side", "--field-manager=other", "-f", "-")
    wanted = changed(replicas=9)
    complaint = kubectl.refused(*other, stdin=wanted)
    assert (
        'Apply failed with 1 conflict: conflict with "kubectl" using apps/v1: .spec.replicas'
        in complaint
    )
    assert kubectl.json("get", "deploy", "web")["spec"]["replicas"] == 2
    kubectl.said(*other, "--force-conflicts", stdin=wanted)
    assert kubectl.json("get", "deploy", "web")["spec"]["replicas"] == 9
    back = kubectl.refused("apply", "--server-side", "-f", "-", stdin=text_of(WEB))
    assert 'conflict with "other" using apps/v1: .spec.replicas' in back


def test_several_conflicts_are_all_named(kubectl: Kubectl) -> None:
    settings = WEB[2]
    kubectl.said("apply", "--server-side", "-f", "-", stdin=text_of([settings]))
    other = {**settings, "data": {"a": "other", "b": "another"}}
    complaint = kubectl.refused(
        "apply", "--server-side", "--field-manager=other", "-f", "-", stdin=text_of([other])
    )
    assert 'Apply failed with 2 conflicts: conflicts with "kubectl" using v1:' in complaint
    assert "- .data.a\n- .data.b" in complaint


def test_an_applier_removes_what_it_no_longer_wants_unless_another_does(kubectl: Kubectl) -> None:
    settings = WEB[2]
    both = ("apply", "--server-side", "-f", "-")
    kubectl.said(*both, stdin=text_of([settings]))
    kubectl.said(*both, "--field-manager=other", stdin=text_of([{**settings, "data": {"a": "1"}}]))
    kubectl.said(*both, stdin=text_of([{**settings, "data": {"c": "3"}}]))
    assert kubectl.json("get", "cm", "settings")["data"] == {"a": "1", "c": "3"}


def test_what_was_applied_by_the_client_goes_over_to_the_server(kubectl: Kubectl) -> None:
    kubectl.said("apply", "-f", "-", stdin=text_of(WEB))
    over = kubectl("apply", "--server-side", "-f", "-", stdin=text_of(WEB))
    assert (over.returncode, over.stderr) == (0, "")
    less = json.loads(json.dumps(WEB))
    del less[0]["spec"]["template"]["spec"]["containers"][1]
    kubectl.said("apply", "--server-side", "-f", "-", stdin=text_of(less))
    spec = kubectl.json("get", "deploy", "web")["spec"]["template"]["spec"]
    assert [one["name"] for one in spec["containers"]] == ["web"]
    managers = kubectl.json("get", "deploy", "web", "--show-managed-fields")["metadata"]
    assert {one["operation"] for one in managers["managedFields"]} == {"Apply"}


def test_a_kustomization_is_applied(kubectl: Kubectl) -> None:
    folder = kubectl.place / "kustomization"
    folder.mkdir()
    (folder / "web.yaml").write_text(text_of(WEB[:2]), "utf-8")
    kustomization = {
        "resources": ["web.yaml"],
        "images": [{"name": "nginx", "digest": "sha256:" + "1" * 64}],
        "configMapGenerator": [{"name": "made", "literals": ["k=v"]}],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), "utf-8")
    assert kubectl.said("apply", "-k", str(folder)).count("created") == 3
    web = kubectl.json("get", "deploy", "web")["spec"]["template"]["spec"]["containers"][0]
    assert web["image"] == "nginx@sha256:" + "1" * 64
    assert kubectl.said("delete", "-k", str(folder)).count("deleted") == 3


def test_the_three_patches(kubectl: Kubectl) -> None:
    kubectl.said("apply", "-f", "-", stdin=text_of(WEB))

    def containers() -> Any:
        return kubectl.json("get", "deploy", "web")["spec"]["template"]["spec"]["containers"]

    strategic = '{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"side:2"}]}}}}'
    kubectl.said("patch", "deploy", "web", "-p", strategic)
    assert {one["name"]: one["image"] for one in containers()} == {
        "web": "nginx:1",
        "side": "side:2",
    }
    operation = '[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"n:3"}]'
    kubectl.said("patch", "deploy", "web", "--type=json", "-p", operation)
    assert containers()[0]["image"] == "n:3"
    merge = '{"spec":{"template":{"spec":{"containers":[{"name":"only","image":"o:1"}]}}}}'
    kubectl.said("patch", "deploy", "web", "--type=merge", "-p", merge)
    assert [one["name"] for one in containers()] == ["only"]
    failing = '[{"op":"test","path":"/spec/replicas","value":77}]'
    complaint = kubectl.refused("patch", "deploy", "web", "--type=json", "-p", failing)
    assert "testing value /spec/replicas failed" in complaint
    status = ("--subresource=status", "--type=merge", "-p", '{"status":{"replicas":4}}')
    kubectl.said("patch", "deploy", "web", *status)
    assert kubectl.json("get", "deploy", "web")["status"] == {"replicas": 4}


@pytest.mark.parametrize("how", [("create",), ("apply",), ("apply", "--server-side")])
def test_a_list_is_sent_item_by_item(kubectl: Kubectl, how: tuple[str, ...]) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": WEB}
    said = kubectl.said(*how, "-f", "-", stdin=text_of([listed]))
    assert [line.split()[0] for line in said.splitlines()] == [
        *("deployment.apps/web", "service/web", "configmap/settings")
    ]
    kubectl.said("apply", "-f", "-", stdin=kubectl.said("get", "deploy,svc,cm", "-o", "yaml"))
    wrong = json.loads(json.dumps(listed))
    wrong["items"][2]["datum"] = {}
    assert 'unknown field "datum"' in kubectl.refused(*how, "-f", "-", stdin=text_of([wrong]))


@pytest.mark.parametrize("overlay", sorted(path.name for path in (K8S / "overlays").iterdir()))
def test_every_overlay_is_taken_and_taken_once(kubectl: Kubectl, overlay: str) -> None:
    folder = str(K8S / "overlays" / overlay)
    namespace = ("-n", namespace_of(kubectl))
    assert "pytorchjob.kubeflow.org/" in kubectl.said("apply", "-k", folder, *namespace)
    again = kubectl.said("apply", "-k", folder, *namespace)
    assert {line.split()[1] for line in again.splitlines()} == {"unchanged"}
    kubectl.said("apply", "--server-side", "-k", folder, *namespace)
    different = kubectl("diff", "--server-side", "-k", folder, *namespace)
    assert (different.returncode, different.stdout) == (0, "")


def test_custom_kinds_have_no_strategic_merge(kubectl: Kubectl) -> None:
    queue = {"apiVersion": "kueue.x-k8s.io/v1beta1", "kind": "LocalQueue"}
    made = {**queue, "metadata": {"name": "q"}, "spec": {"clusterQueue": "c"}}
    kubectl.said("apply", "-f", "-", stdin=text_of([made]))
    kubectl.said("apply", "-f", "-", stdin=text_of([{**made, "spec": {"clusterQueue": "d"}}]))
    assert kubectl.json("get", "lq", "q")["spec"] == {"clusterQueue": "d"}
    said = kubectl.refused("patch", "lq", "q", "--type=strategic", "-p", "{}")
    assert "application/merge-patch+json" in said


def test_who_replaces_an_old_version_is_told_so(kubectl: Kubectl) -> None:
    kubectl.said("create", "configmap", "c", "--from-literal=a=1")
    old = kubectl.json("get", "cm", "c")
    kubectl.said("label", "cm", "c", "seen=yes")
    kubectl.said("annotate", "cm", "c", "note=this")
    old["data"]["a"] = "2"
    complaint = kubectl.refused("replace", "-f", "-", stdin=json.dumps(old))
    assert (
        'Operation cannot be fulfilled on configmaps "c": the object has been modified' in complaint
    )
    new = kubectl.json("get", "cm", "c")
    assert new["metadata"]["labels"] == {"seen": "yes"}
    assert new["metadata"]["annotations"] == {"note": "this"}
    new["data"]["a"] = "3"
    kubectl.said("replace", "-f", "-", stdin=json.dumps(new))
    assert kubectl.json("get", "cm", "c")["data"] == {"a": "3"}
    kubectl.said("label", "cm", "c", "seen-")
    assert "labels" not in kubectl.json("get", "cm", "c")["metadata"]


def test_unknown_fields_and_wrong_types_are_refused_by_name(kubectl: Kubectl) -> None:
    wrong = json.loads(json.dumps(WEB[0]))
    wrong["spec"]["template"]["spec"]["containers"][0]["imagePullpolicy"] = "Always"
    complaint = kubectl.refused("apply", "-f", "-", stdin=text_of([wrong]))
    assert 'unknown field "spec.template.spec.containers[0].imagePullpolicy"' in complaint
    warned = kubectl("apply", "--validate=warn", "-f", "-", stdin=text_of([wrong]))
    assert warned.returncode == 0
    assert (
        'Warning: unknown field "spec.template.spec.containers[0].imagePullpolicy"' in warned.stderr
    )
    wrong = json.loads(json.dumps(WEB[0]))
    wrong["metadata"]["name"] = "other"
    wrong["spec"]["replicas"] = "two"
    complaint = kubectl.refused("apply", "-f", "-", stdin=text_of([wrong]))
    assert "cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas" in complaint


def test_what_is_missing_or_fixed_is_named(kubectl: Kubectl) -> None:
    bare = {**POD_YAML, "spec": {"containers": [{"name": "c"}]}}
    complaint = kubectl.refused("create", "-f", "-", stdin=text_of([bare]))
    assert 'The Pod "p" is invalid: spec.containers[0].image: Required value' in complaint
    named = {**POD_YAML, "metadata": {"name": "Not_A_Name"}}
    assert "RFC 1123 subdomain" in kubectl.refused("create", "-f", "-", stdin=text_of([named]))
    kubectl.said("create", "-f", "-", stdin=text_of([POD_YAML]))
    fixed = '{"spec":{"restartPolicy":"Never"}}'
    assert "pod updates may not change fields" in kubectl.refused("patch", "pod", "p", "-p", fixed)
    kubectl.said("set", "image", "pod/p", "c=busybox:2")
    assert kubectl.json("get", "pod", "p")["spec"]["containers"][0]["image"] == "busybox:2"
