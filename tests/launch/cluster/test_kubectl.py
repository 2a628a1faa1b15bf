"""kubectl before the cluster: what its users do all day, word for word."""

import json

import pytest
import yaml

from retort.launch.cluster.cluster import Cluster
from retort.launch.cluster.kinds.table import KINDS, POD, kind_of
from retort.launch.cluster.logs.logs import log_file
from retort.launch.cluster.objects.writing import Writing
from tests.launch.cluster.kubectl_cases import (
    POD_YAML,
    WEB,
    a_cluster,
    a_kubectl,
    namespace_of,
    text_of,
)
from tests.launch.cluster.running import Kubectl

cluster = a_cluster()
kubectl = a_kubectl()
DEPLOYMENT = kind_of("apps/v1", "Deployment")
JOB = kind_of("batch/v1", "Job")


def test_every_kind_is_told_with_its_names(kubectl: Kubectl) -> None:
    lines = kubectl.said("api-resources", "--no-headers").splitlines()
    told = {(words[-3], words[-1]) for words in map(str.split, lines)}
    assert told == {(kind.api_version, kind.kind) for kind in KINDS}
    assert kubectl.said("get", "po,svc,deploy,pvc,cm,pytorchjobs,lq", "--all-namespaces") == ""
    assert "v1.37" in kubectl.said("version")


def test_get_shows_rows_names_yaml_and_more_when_wide(kubectl: Kubectl) -> None:
    kubectl.said("apply", "-f", "-", stdin=text_of([*WEB, POD_YAML]))
    header, row = kubectl.said("get", "deploy").splitlines()
    assert header.split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert row.split()[:4] == ["web", "0/2", "0", "0"]
    header, row = kubectl.said("get", "deploy", "-o", "wide").splitlines()
    assert header.split()[-3:] == ["CONTAINERS", "IMAGES", "SELECTOR"]
    assert row.split()[-3:] == ["web,side", "nginx:1,side:1", "app=web"]
    assert kubectl.said("get", "pod", "p", "--no-headers").split()[:4] == [
        *("p", "0/1", "Pending", "0")
    ]
    assert kubectl.said("get", "po,cm", "-o", "name").split() == ["pod/p", "configmap/settings"]
    assert yaml.safe_load(kubectl.said("get", "cm", "settings", "-o", "yaml"))["data"] == {
        "a": "1",
        "b": "2",
    }
    assert "service/web" in kubectl.said("get", "all")
    assert kubectl.said("describe", "svc", "web").startswith("Name:")


def test_lists_are_selected_by_labels_and_fields(kubectl: Kubectl) -> None:
    for name, tier in (("a", "front"), ("b", "back"), ("c", "front")):
        kubectl.said("run", name, "--image=x:1", f"--labels=tier={tier},n={name}")

    def names(*words: str) -> list[str]:
        return kubectl.said("get", "po", "-o", "name", *words).split()

    assert names("-l", "tier=front") == ["pod/a", "pod/c"]
    assert names("-l", "tier!=front") == ["pod/b"]
    assert names("-l", "n in (b, c),tier") == ["pod/b", "pod/c"]
    assert names("-l", "!tier") == []
    assert names("--field-selector", "metadata.name=b") == ["pod/b"]
    assert names("--field-selector", "status.phase!=Pending") == []
    assert "field label not supported: spec.magic" in kubectl.refused(
        "get", "po", "--field-selector", "spec.magic=1"
    )
    assert names("--chunk-size=1") == ["pod/a", "pod/b", "pod/c"]
    kubectl.said("delete", "po", "-l", "tier=front")
    assert names() == ["pod/b"]


def test_a_watch_shows_each_change_as_it_comes(kubectl: Kubectl) -> None:
    kubectl.said("create", "configmap", "one", "--from-literal=a=1")
    words = ("get", "cm", "-w", "--output-watch-events", "--no-headers")
    with kubectl.started(*words) as process:
        assert process.stdout is not None

        def told() -> list[str]:
            return process.stdout.readline().split()[:3] if process.stdout else []

        assert told() == ["ADDED", "one", "1"]
        kubectl.said("create", "configmap", "two")
        assert told() == ["ADDED", "two", "0"]
        kubectl.said("patch", "cm", "one", "-p", '{"data":{"b":"2"}}')
        assert told() == ["MODIFIED", "one", "2"]
        kubectl.said("delete", "cm", "two")
        assert told() == ["DELETED", "two", "0"]


def test_wait_ends_when_a_controller_has_written_the_status(
    kubectl: Kubectl, cluster: Cluster
) -> None:
    namespace = namespace_of(kubectl)
    kubectl.said("apply", "-f", "-", stdin=text_of(WEB))
    kubectl.said("create", "job", "j", "--image=x:1")
    conditions = [{"type": "Complete", "status": "True"}]
    status = Writing(manager="controller", subresource="status")
    with (
        kubectl.started("wait", "deploy/web", "--for=jsonpath={.status.readyReplicas}=2") as ready,
        kubectl.started("wait", "job/j", "--for=condition=complete") as complete,
    ):
        for kind, name, found in (
            (DEPLOYMENT, "web", {"readyReplicas": 2, "replicas": 2}),
            (JOB, "j", {"conditions": conditions, "succeeded": 1}),
        ):
            item = cluster.registry.get(kind, namespace, name)
            cluster.registry.update(kind, namespace, name, {**item, "status": found}, status)
        assert (ready.wait(), complete.wait()) == (0, 0)
    assert kubectl.said("get", "deploy", "web", "--no-headers").split()[1] == "2/2"
    assert kubectl.said("get", "job", "j", "--no-headers").split()[1:3] == ["Complete", "1/1"]
    rolled = kubectl.json("get", "deploy", "web")
    assert rolled["metadata"]["generation"] == 1, "a status asks for nothing"


def test_scale_asks_for_more_or_less(kubectl: Kubectl) -> None:
    kubectl.said("apply", "-f", "-", stdin=text_of(WEB))
    kubectl.said("scale", "deploy/web", "--replicas=5", "--current-replicas=2")
    assert kubectl.json("get", "deploy", "web")["spec"]["replicas"] == 5
    kubectl.said("scale", "deploy/web", "--replicas=0")
    assert kubectl.json("get", "deploy", "web")["spec"]["replicas"] == 0
    complaint = kubectl.refused("scale", "deploy/web", "--replicas=1", "--current-replicas=7")
    assert "Expected replicas to be 7, was 0" in complaint
    assert kubectl.json("get", "deploy", "web", "--subresource=scale")["kind"] == "Scale"


def test_create_sends_core_kinds_in_protocol_buffers(kubectl: Kubectl) -> None:
    name = namespace_of(kubectl)
    kubectl.said("create", "namespace", f"{name}-more")
    kubectl.said("create", "secret", "generic", "s", "--from-literal=word=pässe")
    kubectl.said("create", "deployment", "d", "--image=x:1", "--replicas=3", "--port=80")
    kubectl.said("create", "job", "j", "--image=x:1", "--", "sh", "-c", "true")
    kubectl.said("create", "service", "clusterip", "v", "--tcp=80:http")
    kubectl.said("create", "serviceaccount", "a")
    assert kubectl.json("get", "ns", f"{name}-more")["status"] == {"phase": "Active"}
    assert (
        kubectl.said("get", "secret", "s", "-o", "go-template={{.data.word|base64decode}}")
        == "pässe"
    )
    deployment = kubectl.json("get", "deploy", "d")["spec"]
    assert deployment["replicas"] == 3
    assert deployment["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] == 80
    container = kubectl.json("get", "job", "j")["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["sh", "-c", "true"]
    assert kubectl.json("get", "svc", "v")["spec"]["ports"][0]["targetPort"] == "http"
    assert 'serviceaccounts "a" already exists' in kubectl.refused("create", "sa", "a")


def test_a_pod_that_runs_is_gone_when_it_has_been_ended(kubectl: Kubectl, cluster: Cluster) -> None:
    namespace = namespace_of(kubectl)
    kubectl.said("apply", "-f", "-", stdin=text_of([POD_YAML]))
    item = cluster.registry.get(POD, namespace, "p")
    item["spec"]["nodeName"] = "here"
    cluster.registry.update(POD, namespace, "p", item)
    kubectl.said("delete", "pod", "p", "--wait=false", "--grace-period=7")
    going = kubectl.json("get", "pod", "p")["metadata"]
    assert going["deletionGracePeriodSeconds"] == 7
    assert kubectl.said("get", "pod", "p", "--no-headers").split()[2] == "Terminating"
    with kubectl.started("delete", "pod", "p") as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline().startswith('pod "p" deleted')
        kubectl.said("delete", "pod", "p", "--grace-period=0", "--force", "--wait=false")
        assert waiting.wait() == 0
    assert "NotFound" in kubectl.refused("get", "pod", "p")


def test_a_finalizer_holds_an_object(kubectl: Kubectl) -> None:
    settings = json.loads(json.dumps(WEB[2]))
    settings["metadata"]["finalizers"] = ["example.com/hold"]
    kubectl.said("apply", "-f", "-", stdin=text_of([settings]))
    with kubectl.started("delete", "cm", "settings") as waiting:
        kubectl.said("wait", "cm/settings", "--for=jsonpath={.metadata.deletionTimestamp}")
        free = '{"metadata":{"finalizers":null}}'
        kubectl.said("patch", "cm", "settings", "--type=merge", "-p", free)
        assert waiting.wait() == 0


@pytest.mark.parametrize(
    ("cascade", "left"), [("background", []), ("foreground", []), ("orphan", ["pod/p"])]
)
def test_dependents_follow_their_owner(kubectl: Kubectl, cascade: str, left: list[str]) -> None:
    kubectl.said("create", "configmap", "owner")
    uid = kubectl.json("get", "cm", "owner")["metadata"]["uid"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
    metadata = {"name": "p", "ownerReferences": [{**reference, "blockOwnerDeletion": True}]}
    kubectl.said("create", "-f", "-", stdin=text_of([{**POD_YAML, "metadata": metadata}]))
    kubectl.said("delete", "cm", "owner", f"--cascade={cascade}")
    if not left:
        kubectl.said("wait", "pod/p", "--for=delete")
    assert kubectl.said("get", "po", "-o", "name").split() == left
    if left:
        assert "ownerReferences" not in kubectl.json("get", "po", "p")["metadata"]


def test_a_namespace_goes_with_all_that_is_in_it(kubectl: Kubectl) -> None:
    name = namespace_of(kubectl)
    kubectl.said("apply", "-f", "-", stdin=text_of([*WEB, POD_YAML]))
    kubectl.said("delete", "namespace", name)
    for words in (("get", "ns", name), ("create", "configmap", "c")):
        assert f'namespaces "{name}" not found' in kubectl.refused(*words)
    assert kubectl.said("get", "all,cm", "-o", "name") == ""


def test_logs_are_what_the_files_hold(kubectl: Kubectl, cluster: Cluster) -> None:
    kubectl.said("apply", "-f", "-", stdin=text_of([POD_YAML]))
    assert "is waiting to start: ContainerCreating" in kubectl.refused("logs", "p")
    namespace = namespace_of(kubectl)
    pod = cluster.registry.get(POD, namespace, "p")
    first, second = (log_file(cluster.logs, pod, "c", number) for number in (0, 1))
    first.parent.mkdir(parents=True)
    first.write_text("2026-01-01T00:00:00.000000001Z stdout F the first run\n", "utf-8")
    written = [
        "2026-01-02T00:00:00.000000000Z stdout F one",
        "2026-01-02T00:00:01.500000000Z stderr P tw",
        "2026-01-02T00:00:01.600000000Z stderr F o",
        "2026-01-02T00:00:02.000000000Z stdout F three",
    ]
    second.write_text("\n".join(written) + "\n", "utf-8")
    assert kubectl.said("logs", "p") == "one\ntwo\nthree\n"
    assert kubectl.said("logs", "p", "--tail=2") == "two\nthree\n"
    assert kubectl.said("logs", "p", "--previous") == "the first run\n"
    assert kubectl.said("logs", "p", "--since-time=2026-01-02T00:00:02Z") == "three\n"
    assert kubectl.said("logs", "p", "--limit-bytes=5") == "one\nt"
    assert kubectl.said("logs", "p", "--timestamps", "--tail=1").startswith("2026-01-02T00:00:02")
    assert "container x is not valid for pod p" in kubectl.refused("logs", "p", "-c", "x")
    with kubectl.started("logs", "-f", "p", "--tail=1") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "three\n"
        with second.open("a", encoding="utf-8") as file:
            file.write("2026-01-02T00:00:03.000000000Z stdout F four\n")
        assert process.stdout.readline() == "four\n"
        cluster.registry.update(
            POD,
            namespace,
            "p",
            {**pod, "status": {"phase": "Succeeded"}},
            Writing(subresource="status"),
        )
        assert process.wait() == 0


def test_events_are_the_same_in_both_groups(kubectl: Kubectl, cluster: Cluster) -> None:
    namespace = namespace_of(kubectl)
    kubectl.said("apply", "-f", "-", stdin=text_of([POD_YAML]))
    about = kubectl.json("get", "pod", "p")["metadata"]
    event = {
        "metadata": {"generateName": "p."},
        "regarding": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": namespace,
            "name": "p",
            "uid": about["uid"],
        },
        "reason": "Scheduled",
        "note": "it has a place",
        "type": "Normal",
        "eventTime": "2026-01-31T12:00:00.000000Z",
        "reportingController": "tester",
    }
    cluster.registry.create(kind_of("events.k8s.io/v1", "Event"), namespace, event)
    row = kubectl.said("get", "events", "--field-selector=involvedObject.name=p", "--no-headers")
    assert row.split()[1:] == ["Normal", "Scheduled", "pod/p", "it", "has", "a", "place"]
    assert kubectl.json("get", "events.events.k8s.io")["items"][0]["note"] == "it has a place"
    assert "it has a place" in kubectl.said("describe", "pod", "p")
    assert "it has a place" in kubectl.said("events", "--for", "pod/p")


def test_the_kubeconfig_is_its_owners_alone(cluster: Cluster) -> None:
    folder = cluster.kubeconfig.parent
    assert folder.stat().st_mode & 0o777 == 0o700
    for name in ("kubeconfig", "token", "tls/server.key", "objects.sqlite"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600


def test_who_shows_another_token_is_refused(kubectl: Kubectl) -> None:
    file = kubectl.place / "kubeconfig"
    config = yaml.safe_load(file.read_text("utf-8"))
    config["users"][0]["user"]["token"] += "x"
    file.write_text(yaml.safe_dump(config), "utf-8")
    assert "You must be logged in to the server" in kubectl.refused("get", "po")
    assert kubectl.said("get", "--raw", "/readyz") == "ok"
    del config["clusters"][0]["cluster"]["certificate-authority-data"]
    file.write_text(yaml.safe_dump(config), "utf-8")
    assert "certificate" in kubectl.refused("get", "--raw", "/readyz")
