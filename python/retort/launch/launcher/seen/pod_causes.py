"""Why a pod does not run, or has ended. The words are those of kube-scheduler and kubelet (1.37)."""

import re
from collections.abc import Iterator, Sequence

from retort.core.errors import shown
from retort.launch.launcher.api.resources import Object
from retort.launch.launcher.seen.cause import Cause, Seen, latest_event
from retort.launch.launcher.seen.pods import GPU, PENDING, Ended, Pod, Waiting

_UNPULLABLE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_NOT_STARTED = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
_MASTER_INIT = "init-pytorch"
"""The container that the training operator puts before workers of a job with a Master."""
_GROWING = ("TriggeredScaleUp", "Nominated")
_NOT_GROWING = ("NotTriggerScaleUp",)
_PULL_MENDS = (
    ("no space left", "give the machines more disk, or have unused images removed from them"),
    (
        "40[13]|unauthorized|denied|authenti|forbidden",
        "give the namespace's service account an imagePullSecret of that registry",
    ),
    (
        "not found|manifest unknown",
        "push it (//docker:training.push), and give the digest that was printed",
    ),
    (
        "no such host|timeout|refused|i/o|no route|unreachable",
        "see that the machines reach that registry",
    ),
    ("", "see that registry, name and digest are right"),
)
"""Of words of a container runtime, what mends it: the first that fits."""
_USER, _OURS, _KILLED = 2, 1, 137
_OWNER = re.compile(r"Permission denied|cannot be written: .*permission", re.IGNORECASE)
_LAST_LINE = re.compile(r"^error: .*", re.MULTILINE)
_VOLUME = ("FailedMount", "FailedAttachVolume", "FailedMapVolume")


def pod_causes(pod: Pod, seen: Seen) -> Iterator[Cause]:
    """What keeps it from running now."""
    of = f"pod/{pod.name}"
    lost = pod.condition("Ready").get("reason") == "NodeStatusUnknown"
    if pod.shown in ("NodeLost", "Unknown") or lost:
        yield Cause(
            of,
            f"its machine {pod.node or 'is gone and'} does not answer",
            f"if it is really off, kubectl delete {of} --force, and the operator makes the pod anew elsewhere",
        )
        return
    if pod.phase == PENDING:
        yield from _unscheduled(pod, seen)
        yield from _volumes(pod, seen)
    for waiting in pod.waiting():
        yield from _waiting(of, waiting)
    if not pod.is_going:
        for ended in pod.ended():
            # A pod that is there still, and has ended by a fault of nobody's, starts again.
            if ended.code in (_USER, _OURS) or ended.reason == "OOMKilled":
                yield _why(of, ended)


def _unscheduled(pod: Pod, seen: Seen) -> Iterator[Cause]:
    condition = pod.condition("PodScheduled")
    if condition.get("status") != "False" or is_growing(pod, seen.events):
        return
    # What preemption could do says nothing more.
    said = shown(str(condition.get("message", "")).partition(" preemption: ")[0])
    of = f"pod/{pod.name}"
    # A claim may wait for the pod's machine, and then it is not what the pod waits for.
    is_claim = "persistentvolumeclaim" in said.lower()
    claims = list(_unbound(pod, seen)) if is_claim else []
    if claims:
        yield from claims
    elif is_claim:
        yield Cause(of, f"waits for a claim: {said}", "see kubectl get pvc, and have it bound")
    elif f"Insufficient {GPU}" in said:
        yield Cause(
            of,
            f"no machine has {pod.gpus} free {GPU}: {said}",
            "ask for fewer gpus, wait for others to end, or have machines with GPUs added",
        )
    elif "Insufficient" in said:
        what = "/".join(dict.fromkeys(re.findall(r"Insufficient ([\w./-]*\w)", said)))
        asked = _asked(pod)
        mend = f"ask for less (it asks {asked}), wait for others to end, or have machines added"
        yield Cause(of, f"no machine has enough {what}: {said}", mend)
    elif "node affinity" in said or "node selector" in said or "nodeselector" in said:
        wanted = ",".join(f"{k}={v}" for k, v in (pod.spec.get("nodeSelector") or {}).items())
        mend = f"see kubectl get nodes -l {wanted}" if wanted else "see the job's node affinity"
        yield Cause(of, f"no machine is of the kind that it asks: {said}", mend)
    elif "taint" in said:
        mend = "give the job a toleration of it (spot, gpus), or other machines"
        yield Cause(of, f"machines keep it off by a taint: {said}", mend)
    elif condition.get("reason") == "SchedulingGated":
        yield Cause(of, "is held back by a scheduling gate", "see who has set spec.schedulingGates")
    elif said:
        yield Cause(of, f"waits for a machine: {said}", f"see kubectl describe {of}")


def is_growing(pod: Pod, events: Sequence[Object]) -> bool:
    """Whether a machine is being added for a pod (cluster-autoscaler, Karpenter), which takes minutes."""
    if pod.condition("PodScheduled").get("status") != "False":
        return False
    own = (one for one in reversed(events) if one.get("involvedObject", {}).get("uid") == pod.uid)
    told = (one.get("reason") for one in own)
    return next((one for one in told if one in (*_GROWING, *_NOT_GROWING)), "") in _GROWING


def _asked(pod: Pod) -> str:
    parts = []
    for container in pod.spec.get("containers") or ():
        asked = (container.get("resources") or {}).get("requests") or {}
        parts += [f"{key} {value}" for key, value in asked.items()]
    return ", ".join(parts) or "nothing"


def _unbound(pod: Pod, seen: Seen) -> Iterator[Cause]:
    for name in pod.claims():
        claim = seen.claims.get(name, {})
        of = f"persistentvolumeclaim/{name}"
        if claim is None:
            mend = f"make the claim {name}, or give runs.size to the job, which makes it"
            yield Cause(of, "is not there, and pods wait for it", mend)
        elif claim and (claim.get("status") or {}).get("phase") != "Bound":
            spec = claim.get("spec") or {}
            modes = ", ".join(spec.get("accessModes") or ())
            asked = f"{spec.get('storageClassName') or 'the default storage class'}, {modes}"
            said = latest_event(seen.events, of, ("ProvisioningFailed", "FailedBinding"))
            what = f"is not bound to a volume ({asked}){f': {said}' if said else ''}"
            mend = "give a runs.storage_class that there is and that can be shared (kubectl get storageclass)"
            yield Cause(of, what, mend)


def _volumes(pod: Pod, seen: Seen) -> Iterator[Cause]:
    of = f"pod/{pod.name}"
    if said := latest_event(seen.events, of, _VOLUME):
        if "Multi-Attach" in said:
            mend = "give the claim ReadWriteMany, or wait until the pod that has the volume is gone"
        elif "not found" in said:
            mend = "make what it names in the namespace"
        else:
            mend = "see that the storage answers and lets this cluster mount it"
        yield Cause(of, f"its volume cannot be mounted: {said}", mend)


def _waiting(of: str, waiting: Waiting) -> Iterator[Cause]:
    said = shown(waiting.message)
    if waiting.reason in _UNPULLABLE:
        what = f"the image {waiting.image} cannot be pulled: {said or waiting.reason}"
        mend = next(mend for words, mend in _PULL_MENDS if re.search(words, said, re.IGNORECASE))
        if waiting.container == _MASTER_INIT:
            mend = (
                "write the Master as one more Worker with an elasticPolicy: no such container then"
            )
        yield Cause(of, what, mend)
    elif waiting.reason in _NOT_STARTED:
        named = re.search(r'(secret|configmap) "([^"]+)" not found', said)
        mend = f"make the {named[1]} {named[2]}" if named else "mend in the job what it names"
        yield Cause(of, f"{waiting.container} cannot be started: {said}", mend)


def ended_causes(pod: Pod) -> Iterator[Cause]:
    """Why its containers have ended, if not well."""
    of = f"pod/{pod.name}"
    for ended in pod.ended():
        if ended.code:
            yield _why(of, ended)
    if pod.status.get("reason") and pod.phase == "Failed":
        said = shown(str(pod.status.get("message", "")))
        yield Cause(
            of, f"{pod.status['reason']}: {said}", "resume it; it goes on from its checkpoint"
        )


def _why(of: str, ended: Ended) -> Cause:
    """Of an exit code: 2 is the user's mistake, 1 ours, 128 and above nobody's here."""
    lines = _LAST_LINE.findall(ended.said)
    said = shown(lines[-1].removeprefix("error: ") if lines else _last(ended.said))
    what = f"exit code {ended.code}{f': {said}' if said else ''}"
    if ended.reason == "OOMKilled":
        what = f"{ended.container} has used up its memory (OOMKilled)"
        return Cause(of, what, "give the job more memory, or smaller batches to the recipe")
    if _OWNER.search(said):
        return Cause(
            of,
            what,
            "the volume belongs to another: give its directories to user and group 65532 (this storage does "
            "not follow fsGroup), or another runs.claim",
        )
    if ended.code == _USER:
        return Cause(of, what, "mend that, then resume")
    if ended.code == _OURS:
        return Cause(of, what, "see logs for what was before it")
    if ended.code == _KILLED:
        return Cause(of, what, "it was killed; resume goes on from its checkpoint")
    return Cause(of, what, "resume goes on from its checkpoint")


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
