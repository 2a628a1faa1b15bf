"""`bazel run //launch:proof -- --directory DIR`: pods train, one is killed, and the seal is a plain run's.

Applies a kustomization with kubectl, on a cluster of its own on this machine or on that of `--kubeconfig`, kills a pod
when there is a step, waits for the end, and trains here by the same recipe in one process. The last line is the seal
that both have.
"""

from retort.core.signals import starting

if __name__ == "__main__":
    starting()

import argparse
import json
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from retort.core.atomic import storage_errors
from retort.core.cli import Arguments, Invocation, run
from retort.core.errors import UserError, VerificationError, shown
from retort.core.forks.client import run as run_process
from retort.core.paths import check_place
from retort.launch.cluster.cluster import HISTORY, Cluster
from retort.launch.cluster.main import own_image
from retort.launch.cluster.serving.serving import bind
from retort.launch.cluster.workloads import WorkloadOptions
from tools.kubernetes.kubectl import Kubectl
from tools.kubernetes.pod_logs import OF_JOB, JobFailed, PodLogs

_OVERLAY = "k8s/overlays/local"
_JOB = "pytorchjobs.kubeflow.org"
_STEP = re.compile(r"^step \d+/\d+ ")
_SEAL = re.compile(r"^seal (sha256:[0-9a-f]{64}) ", re.MULTILINE)
_log = logging.getLogger("retort.launch")


@dataclass(frozen=True)
class Job:
    """A PyTorchJob of workers, as it was applied.

    Attributes:
        pods: how many.
        recipe: what it trains by.
    """

    name: str
    pods: int
    recipe: str


def main(arguments: Sequence[str]) -> int:
    """Prove it once.

    Raises:
        UserError: a flag is wrong, or what is applied has no such job.
        JobFailed, KubectlError: the job failed, or could not be applied.
        VerificationError: the seals differ.
    """
    options = _parse(arguments)
    invocation = Invocation.from_environment()
    directory, kustomization = map(invocation.resolve, (options.directory, options.kustomization))
    check_place(directory)
    if directory.exists() and any(directory.iterdir()):
        raise UserError(f"{shown(directory)}: is not empty; choose another --directory")
    with storage_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    images = {name: invocation.resolve(path) for name, path in options.image}
    given = options.kubeconfig and invocation.resolve(options.kubeconfig)
    with _cluster(directory / "cluster", given, images) as kubeconfig:
        kubectl = Kubectl(kubeconfig)
        said = kubectl.said("apply", "--kustomize", str(kustomization), "--output=name")
        job = _applied(kubectl, said.split())
        with PodLogs(kubectl, job.name) as pods:
            killed = _kill_a_pod(kubectl, job, pods, by_hand=given is not None)
            seal = _seal_of_job(kubectl, job, pods)
    plain = _plain_run(job, directory)
    if options.json:
        print(
            json.dumps(
                {"job": job.name, "pods": job.pods, "killed": killed, "seal": seal, "plain": plain}
            )
        )
    if seal != plain:
        raise VerificationError(
            f"the job's seal is {seal}, and that of one process with the same recipe is {plain}"
        )
    _log.info("%d pods, %s killed, and one plain process have one seal", job.pods, killed)
    if not options.json:
        print(f"seal {plain} {directory / 'plain' / 'checkpoint'}")
    return 0


@contextmanager
def _cluster(directory: Path, given: Path | None, images: dict[str, Path]) -> Iterator[Path]:
    """The kubeconfig of a cluster: of the one that is given, or of one that lives as long as this."""
    if given is not None:
        yield given
        return
    options = WorkloadOptions({**own_image(), **images})
    with Cluster(directory, bind("127.0.0.1", 0), HISTORY, options) as cluster:
        yield cluster.kubeconfig


def _applied(kubectl: Kubectl, names: Sequence[str]) -> Job:
    """The one PyTorchJob among the objects that were applied.

    Raises:
        UserError: there is none, or several, or its recipe is not in a ConfigMap.
    """
    jobs = [name for name in names if name.startswith("pytorchjob.")]
    if len(jobs) != 1:
        raise UserError(f"--kustomization has {len(jobs)} PyTorchJobs; one is what this can prove")
    found = kubectl.json("get", jobs[0])
    worker = found["spec"]["pytorchReplicaSpecs"]["Worker"]
    maps = [
        one["configMap"]["name"]
        for one in worker["template"]["spec"]["volumes"]
        if "configMap" in one
    ]
    recipes = [
        text for name in maps for text in kubectl.json("get", "configmap", name)["data"].values()
    ]
    if len(recipes) != 1:
        raise UserError(
            f"{jobs[0]} mounts {len(recipes)} files of ConfigMaps; its recipe must be the one"
        )
    return Job(found["metadata"]["name"], worker["replicas"], recipes[0])


def _kill_a_pod(kubectl: Kubectl, job: Job, pods: PodLogs, *, by_hand: bool) -> str:
    """Kill the last worker when some pod has told of a step; returns its name.

    Args:
        by_hand: remove it, as a node's loss does, where no annotation asks for a kill.
    """
    pods.until(_STEP)
    victim = f"{job.name}-worker-{job.pods - 1}"
    before = kubectl.json("get", "pod", victim)["metadata"]["uid"]
    if by_hand:
        kubectl.said("delete", "pod", victim, "--grace-period=0", "--force", "--wait=false")
    else:
        kubectl.said("annotate", "pod", victim, "retort/kill=now")
    _log.info("killed %s", victim)
    with kubectl.watched("pods", f"--selector={OF_JOB}={job.name}") as states:
        next(
            pod
            for pod in states
            if pod["metadata"]["name"] == victim and pod["metadata"]["uid"] != before
        )
    _log.info("%s was made anew", victim)
    return victim


def _seal_of_job(kubectl: Kubectl, job: Job, pods: PodLogs) -> str:
    """Wait for the end of a job; the seal that its first process tells.

    Raises:
        JobFailed: it has failed, or nobody tells a seal.
    """
    ended = ""
    with kubectl.watched(_JOB, job.name) as states:
        for state in states:
            conditions = state.get("status", {}).get("conditions") or []
            true = {one["type"] for one in conditions if one["status"] == "True"}
            if ended := next(iter(true & {"Succeeded", "Failed"}), ""):
                break
    said = pods.whole()
    found = set(_SEAL.findall(said))
    if ended != "Succeeded" or len(found) != 1:
        print(said, file=sys.stderr)
        raise JobFailed(
            f"{job.name} has not succeeded with one seal but {ended or 'not ended'}, with "
            f"{len(found)} seals; what its pods said is above"
        )
    seal: str = found.pop()
    return seal


def _plain_run(job: Job, directory: Path) -> str:
    """The seal of one process here.

    Raises:
        JobFailed: it failed; its words are there.
    """
    recipe = directory / "recipe.yaml"
    with storage_errors(directory):
        recipe.write_text(job.recipe, encoding="utf-8")
    _log.info("one process, by the same recipe")
    command = ["retort.train.main", "--config", str(recipe), "--out", str(directory / "plain")]
    done = run_process(command)
    found = _SEAL.search(done.stdout)
    if done.returncode or found is None:
        print(done.stderr, file=sys.stderr)
        raise JobFailed(f"one process ended with {done.returncode}; what it said is above")
    return str(found[1])


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Arguments(
        prog="proof",
        description="Train in pods of which one is killed, and in one process: the seal must be the same.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--directory", required=True, metavar="DIR", help="for all of it; not there yet, or empty"
    )
    parser.add_argument(
        "--kustomization",
        default=_OVERLAY,
        metavar="DIR",
        help="what is applied: one PyTorchJob of workers, and what it needs (%(default)s)",
    )
    parser.add_argument(
        "--kubeconfig", metavar="FILE", help="of a cluster; one on this machine is made otherwise"
    )
    parser.add_argument(
        "--image",
        type=_image,
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="as of //launch:cluster, for the cluster on this machine",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    if options.kubeconfig and options.image:
        parser.error("--image is for a cluster on this machine, and --kubeconfig names another")
    return options


def _image(text: str) -> tuple[str, str]:
    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, path


if __name__ == "__main__":
    run(main)
