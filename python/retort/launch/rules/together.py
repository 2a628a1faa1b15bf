"""What holds between objects that are applied together: names, selectors, claims, and the numbers of a job."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from retort.launch.rules import training
from retort.launch.rules.documents import Document, Finding
from retort.launch.rules.templates import Pods, at, pods_of

_CLAIM = "PersistentVolumeClaim"


def problems(documents: Sequence[Document], there: Collection[str]) -> Iterator[Finding]:
    """What is wrong between objects each of which is right.

    Args:
        there: `KIND/NAME`, in small letters the kind, of what the namespace has already.
    """
    found = list(_twice(documents))
    pods = [one for document in documents for one in pods_of(document)]
    for one in pods:
        found += _references(one, documents, there)
        found += _shared_claims(one, documents)
    found += _selectors(documents, pods)
    found += _runtimes(documents, there)
    found += _monitors(documents, pods)
    yield from found
    if not found:
        for job in training.trainings(documents):
            yield from training.problems(job, documents)
            yield from _peers(job, documents)


def _twice(documents: Sequence[Document]) -> Iterator[Finding]:
    seen: dict[tuple[str, str, str], str] = {}
    for one in documents:
        key = (one.kind, one.namespace, one.name)
        if key in seen:
            yield one.finding("metadata.name", f"is in {seen[key]}, too; remove one, or rename it")
        seen[key] = one.file


def _references(
    pods: Pods, documents: Sequence[Document], there: Collection[str]
) -> Iterator[Finding]:
    inside = {(one.kind, one.name) for one in documents if one.namespace == pods.document.namespace}
    for path, kind, name in _names(pods):
        if (kind, name) not in inside and f"{kind.lower()}/{name}" not in there:
            yield pods.document.finding(
                path,
                f"{name}: no {kind} of that name is here, and pods would wait for it; add it, or give "
                f"--there {kind.lower()}/{name} if the namespace has it",
            )


def _names(pods: Pods) -> Iterator[tuple[str, str, str]]:
    """Path, kind and name of what pods name."""
    for path, volume in pods.volumes():
        yield from _named(volume, path)
        for number, source in enumerate(at(volume, "projected.sources") or []):
            yield from _named(source, f"{path}.projected.sources.{number}")
    for path, container in pods.containers():
        for number, source in enumerate(container.get("envFrom") or []):
            yield from _named(source, f"{path}.envFrom.{number}")
        for number, variable in enumerate(container.get("env") or []):
            yield from _named(variable.get("valueFrom") or {}, f"{path}.env.{number}.valueFrom")


_REFERENCES = {
    **dict.fromkeys(("configMap", "configMapRef", "configMapKeyRef"), ("ConfigMap", "name")),
    **dict.fromkeys(("secretRef", "secretKeyRef"), ("Secret", "name")),
    "secret": ("Secret", "secretName"),
    "persistentVolumeClaim": (_CLAIM, "claimName"),
}


def _named(value: Mapping[str, Any], path: str) -> Iterator[tuple[str, str, str]]:
    for key, (kind, field) in _REFERENCES.items():
        reference = value.get(key)
        if reference and not reference.get("optional"):
            # A projected Secret is named as a ConfigMap is.
            name = reference.get(field, reference.get("name", ""))
            yield f"{path}.{key}.{field}", kind, str(name)


def _shared_claims(pods: Pods, documents: Sequence[Document]) -> Iterator[Finding]:
    claims = {one.name: one for one in documents if one.kind == _CLAIM}
    for path, volume in pods.volumes():
        claim = claims.get(str(at(volume, "persistentVolumeClaim.claimName")))
        if claim is None or pods.replicas == 1:
            continue
        modes = claim.spec.get("accessModes") or []
        if not {"ReadWriteMany", "ReadOnlyMany"} & set(modes):
            yield pods.document.finding(
                f"{path}.persistentVolumeClaim.claimName",
                f"{claim.name} is {', '.join(modes)}, and {pods.replicas} pods, perhaps on several machines, "
                "have it; give it ReadWriteMany",
            )


def _matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors"""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for one in selector.get("matchExpressions") or []:
        value, values = labels.get(one["key"]), one.get("values") or []
        right = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not right[one["operator"]]:
            return False
    return True


def _selectors(documents: Sequence[Document], pods: Sequence[Pods]) -> Iterator[Finding]:
    for one in documents:
        own = [pod.labels for pod in pods if pod.document.namespace == one.namespace]
        if one.kind in ("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"):
            (template,) = pods_of(one)
            if not _matches(one.spec.get("selector") or {}, template.labels):
                yield one.finding(
                    "spec.selector",
                    f"does not select {template.at}.metadata.labels; make them equal",
                )
        elif one.kind in ("NetworkPolicy", "PodDisruptionBudget", "PodMonitor"):
            key = "podSelector" if one.kind == "NetworkPolicy" else "selector"
            selector = one.spec.get(key) or {}
            if own and not any(_matches(selector, labels) for labels in own):
                yield one.finding(
                    f"spec.{key}", "selects none of the pods here; give it labels that they have"
                )
        elif one.kind == "Service":
            selector = one.spec.get("selector")
            if (
                own
                and selector
                and not any(_matches({"matchLabels": selector}, labels) for labels in own)
            ):
                yield one.finding(
                    "spec.selector", "selects none of the pods here; give it labels that they have"
                )


def _monitors(documents: Sequence[Document], pods: Sequence[Pods]) -> Iterator[Finding]:
    """A port that no pod has is read nowhere; one that a policy closes is read in vain."""
    for monitor in documents:
        if monitor.kind != "PodMonitor":
            continue
        read = [one for one in pods if one.document.namespace == monitor.namespace]
        read = [one for one in read if _matches(monitor.spec.get("selector") or {}, one.labels)]
        for number, endpoint in enumerate(monitor.spec.get("podMetricsEndpoints") or []):
            for one in read:
                ports = [
                    port
                    for _, container in one.containers()
                    for port in container.get("ports") or []
                    if port.get("name") == endpoint.get("port")
                ]
                if not ports:
                    yield monitor.finding(
                        f"spec.podMetricsEndpoints.{number}.port",
                        f"{endpoint.get('port')}: no container of {one.document.kind}/{one.document.name} has a "
                        "port of that name; give it one",
                    )
                for port in ports:
                    yield from _closed(port, one, documents)


def _closed(
    port: Mapping[str, Any], pods: Pods, documents: Sequence[Document]
) -> Iterator[Finding]:
    policies = [
        one
        for one in documents
        if one.kind == "NetworkPolicy"
        and one.namespace == pods.document.namespace
        and "Ingress" in (one.spec.get("policyTypes") or ["Ingress"])
        and _matches(one.spec.get("podSelector") or {}, pods.labels)
    ]
    rules = [rule for policy in policies for rule in policy.spec.get("ingress") or []]
    # Who may is for the cluster to say; its own pods alone cannot be meant.
    others = [
        rule
        for rule in rules
        if any(
            "podSelector" not in peer or "namespaceSelector" in peer
            for peer in rule.get("from") or [{}]
        )
    ]
    number, name = port.get("containerPort"), port.get("name")
    allowed = [one.get("port") for rule in others for one in rule.get("ports") or [{}]]
    if policies and not {None, number, name} & set(allowed):
        yield policies[0].finding(
            "spec.ingress", f"keeps Prometheus from port {name} of these pods; allow TCP {number}"
        )


def _runtimes(documents: Sequence[Document], there: Collection[str]) -> Iterator[Finding]:
    runtimes = {(one.kind, one.name): one for one in documents}
    for job in documents:
        if job.kind != "TrainJob":
            continue
        reference = job.spec.get("runtimeRef") or {}
        kind, name = reference.get("kind", "ClusterTrainingRuntime"), reference.get("name")
        runtime = runtimes.get((kind, str(name)))
        if runtime is None:
            if f"{kind.lower()}/{name}" not in there:
                yield job.finding(
                    "spec.runtimeRef.name",
                    f"{name}: no {kind} of that name is here; add it, or give --there {kind.lower()}/{name}",
                )
            continue
        nodes, own = at(runtime.value, "spec.mlPolicy.numNodes"), job.spec.get("trainer") or {}
        if nodes and own.get("numNodes", nodes) != nodes:
            yield job.finding(
                "spec.trainer.numNodes",
                f"{own['numNodes']} is not the runtime's spec.mlPolicy.numNodes, {nodes}; make them equal",
            )


def _peers(job: training.Training, documents: Sequence[Document]) -> Iterator[Finding]:
    """A policy of a job's pods that keeps them from each other has them wait for ever."""
    labels = job.pods.labels
    if job.nodes == 1:
        return
    for policy in documents:
        if policy.kind != "NetworkPolicy" or policy.namespace != job.pods.document.namespace:
            continue
        if not _matches(policy.spec.get("podSelector") or {}, labels):
            continue
        for key, side in (("ingress", "from"), ("egress", "to")):
            rules = policy.spec.get(key)
            restricts = key.capitalize() in (policy.spec.get("policyTypes") or ["Ingress"])
            if restricts and not any(_lets(rule, side, labels) for rule in rules or []):
                yield policy.finding(
                    f"spec.{key}",
                    f"keeps the pods of {job.job.kind}/{job.job.name} from each other, which meet at ports that they "
                    f"choose; allow all of TCP {side} their own labels",
                )


def _lets(rule: Mapping[str, Any], side: str, labels: Mapping[str, str]) -> bool:
    ports = rule.get("ports") or [{}]
    if not any(one.get("port") is None and one.get("protocol", "TCP") == "TCP" for one in ports):
        return False
    peers = rule.get(side)
    return not peers or any(
        _matches(one["podSelector"], labels)
        for one in peers
        if "podSelector" in one and "namespaceSelector" not in one
    )
