"""What a pod must be: what the API server checks beside its schema, Pod Security "restricted", and images by digest."""

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from retort.core.errors import shown
from retort.launch.job import IMAGE
from retort.launch.pods import CHECKPOINT, STEP
from retort.launch.rules.documents import Document, Finding
from retort.launch.rules.templates import Pods, at, pods_of
from retort.launch.units import quantity, seconds

_VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image"),
    *("persistentVolumeClaim", "projected", "secret"),
}
"""Kinds of volumes that "restricted" allows; `image` since Kubernetes 1.31."""
_GRACE_S = 30
"""Of a pod that says nothing."""


def problems(document: Document) -> Iterator[Finding]:
    """What is wrong with the pods of an object."""
    for pods in pods_of(document):
        for rule in (_names, _mounts, _resources, _images, _restricted, _hygiene, _grace):
            yield from rule(pods)


def _names(pods: Pods) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for path, container in pods.containers():
        name = container["name"]
        if name in seen:
            yield pods.document.finding(
                f"{path}.name", f"{name} is the name of {seen[name]}, too; give it another"
            )
        seen[name] = path
        yield from _unique(pods, f"{path}.env", container.get("env") or [], "name")
        yield from _unique(
            pods, f"{path}.volumeMounts", container.get("volumeMounts") or [], "mountPath"
        )
    yield from _unique(pods, f"{pods.path}.volumes", pods.spec.get("volumes") or [], "name")


def _unique(
    pods: Pods, path: str, found: Sequence[Mapping[str, Any]], key: str
) -> Iterator[Finding]:
    seen = set()
    for number, one in enumerate(found):
        if one[key] in seen:
            yield pods.document.finding(
                f"{path}.{number}.{key}", f"{one[key]} is there twice; remove one"
            )
        seen.add(one[key])


def _mounts(pods: Pods) -> Iterator[Finding]:
    volumes = [volume["name"] for _, volume in pods.volumes()]
    for path, container in pods.containers():
        for number, mount in enumerate(container.get("volumeMounts") or []):
            if mount["name"] not in volumes:
                yield pods.document.finding(
                    f"{path}.volumeMounts.{number}.name",
                    f"no volume is called {mount['name']}; add it to volumes, or remove the mount",
                )


def _resources(pods: Pods) -> Iterator[Finding]:
    shared = Decimal(0)
    for path, volume in pods.volumes():
        if at(volume, "emptyDir.medium") == "Memory" and at(volume, "emptyDir.sizeLimit"):
            try:
                shared += quantity(str(volume["emptyDir"]["sizeLimit"]))
            except ValueError as error:
                yield pods.document.finding(f"{path}.emptyDir.sizeLimit", str(error))
    for path, container in pods.containers():
        limits, requests = at(container, "resources.limits"), at(container, "resources.requests")
        if wrong := list(_quantities(pods, path, container)):
            yield from wrong
            continue
        for name, written in requests.items():
            if name in limits and quantity(str(written)) > quantity(str(limits[name])):
                yield pods.document.finding(
                    f"{path}.resources.requests.{name}",
                    f"{written} is more than the limit, {limits[name]}; request less or allow more",
                )
            elif "/" in name and str(limits.get(name)) != str(written):
                yield pods.document.finding(
                    f"{path}.resources.limits.{name}",
                    f"a device is not shared: limit what is requested, {written}",
                )
        memory = limits.get("memory")
        if memory is None:
            yield pods.document.finding(
                f"{path}.resources.limits.memory",
                "is missing; give it, as a pod without one is killed when its machine runs out",
            )
        elif shared and quantity(str(memory)) <= shared:
            yield pods.document.finding(
                f"{path}.resources.limits.memory",
                f"{memory} is not more than the pod's volumes in memory, which count; give more",
            )


def _quantities(pods: Pods, path: str, container: Mapping[str, Any]) -> Iterator[Finding]:
    for kind in ("limits", "requests"):
        for name, written in at(container, f"resources.{kind}").items():
            try:
                quantity(str(written))
            except ValueError as error:
                yield pods.document.finding(f"{path}.resources.{kind}.{name}", str(error))


def _images(pods: Pods) -> Iterator[Finding]:
    images = [(f"{path}.image", one.get("image", "")) for path, one in pods.containers()]
    images += [
        (f"{path}.image.reference", volume["image"].get("reference", ""))
        for path, volume in pods.volumes()
        if "image" in volume
    ]
    for path, image in images:
        if not re.fullmatch(IMAGE, image, re.ASCII):
            yield pods.document.finding(
                path,
                f"{shown(image) or 'nothing'} is not REGISTRY/REPOSITORY@sha256:DIGEST; a tag may be another image "
                "tomorrow, so give the digest",
            )


def _restricted(pods: Pods) -> Iterator[Finding]:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    spec, found = pods.spec, pods.document.finding
    for key in ("hostIPC", "hostNetwork", "hostPID"):
        if spec.get(key):
            yield found(
                f"{pods.path}.{key}", "is not allowed by Pod Security restricted; remove it"
            )
    for path, volume in pods.volumes():
        for kind in volume.keys() - _VOLUMES - {"name"}:
            yield found(
                f"{path}.{kind}",
                "is a kind of volume that Pod Security restricted does not allow; use a claim",
            )
    of_pod = spec.get("securityContext") or {}
    for path, container in pods.containers():
        own = container.get("securityContext") or {}
        inside = f"{path}.securityContext"
        if own.get("privileged"):
            yield found(
                f"{inside}.privileged", "is not allowed by Pod Security restricted; remove it"
            )
        if own.get("allowPrivilegeEscalation") is not False:
            yield found(
                f"{inside}.allowPrivilegeEscalation", "give false, as Pod Security restricted asks"
            )
        if "ALL" not in (at(own, "capabilities.drop") or []):
            yield found(
                f"{inside}.capabilities.drop", 'give ["ALL"], as Pod Security restricted asks'
            )
        if set(at(own, "capabilities.add") or []) - {"NET_BIND_SERVICE"}:
            yield found(
                f"{inside}.capabilities.add", "is not allowed by Pod Security restricted; remove it"
            )
        if own.get("runAsNonRoot", of_pod.get("runAsNonRoot")) is not True:
            yield found(
                f"{inside}.runAsNonRoot",
                "give true there or to the pod, as Pod Security restricted asks",
            )
        if own.get("runAsUser", of_pod.get("runAsUser")) == 0:
            yield found(f"{inside}.runAsUser", "0 is root; give another user, such as 65532")
        profile = at(own, "seccompProfile.type") or at(of_pod, "seccompProfile.type")
        if profile not in ("RuntimeDefault", "Localhost"):
            yield found(
                f"{inside}.seccompProfile.type",
                "give RuntimeDefault there or to the pod, as Pod Security restricted asks",
            )


def _hygiene(pods: Pods) -> Iterator[Finding]:
    found = pods.document.finding
    if pods.spec.get("automountServiceAccountToken") is not False:
        yield found(
            f"{pods.path}.automountServiceAccountToken",
            "give false: what trains or serves asks no API server",
        )
    if pods.spec.get("enableServiceLinks") is not False:
        yield found(
            f"{pods.path}.enableServiceLinks",
            "give false: variables of services enter the environment otherwise",
        )
    for path, container in pods.containers():
        if at(container, "securityContext.readOnlyRootFilesystem") is not True:
            yield found(
                f"{path}.securityContext.readOnlyRootFilesystem",
                "give true, and a volume for what is written",
            )


def _grace(pods: Pods) -> Iterator[Finding]:
    """A training pod says what its grace period has room for."""
    period = pods.spec.get("terminationGracePeriodSeconds", _GRACE_S)
    times = {key: pods.annotations[key] for key in (STEP, CHECKPOINT) if key in pods.annotations}
    needed = 0
    for key, text in times.items():
        try:
            needed += seconds(text)
        except ValueError as error:
            yield pods.document.finding(f"{pods.at}.metadata.annotations.{key}", str(error))
            return
    if period < needed:
        yield pods.document.finding(
            f"{pods.path}.terminationGracePeriodSeconds",
            f"{period} is less than the longest step and the longest checkpoint, {needed} s, which the "
            f"annotations tell; give {needed} or more",
        )
