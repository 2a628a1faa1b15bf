"""What the pods of a job are started with: its flags as the kubelet hands them over, held to the numbers of the job."""

import argparse
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retort.core.cli import Arguments
from retort.core.config import find_recipe, load_recipe
from retort.core.errors import UserError, shown
from retort.launch.job import RUNS
from retort.launch.pods import CHECKPOINT, STEP
from retort.launch.rules.documents import Document, Finding
from retort.launch.rules.templates import Pods, at, pods_of
from retort.launch.units import seconds
from retort.train.processes.launch import add_launch_arguments, launch_from
from retort.train.recipe import TrainingRecipe, recipes

_VARIABLE = re.compile(r"(?<!\$)\$\(([^)]*)\)")
"""What the kubelet fills in: https://kubernetes.io/docs/tasks/inject-data-application/define-environment-variable-container/."""
_LABEL, _OURS = "app.kubernetes.io/name", "retort-training"
_PORTS = {"PyTorchJob": 23456, "TrainJob": 29500}


@dataclass(frozen=True)
class Training:
    """A job whose pods run our image.

    Attributes:
        pods: of the job, or of the runtime that it names.
        processes: of each pod.
        endpoint: where the pods meet.
        variables: of the container, with what the operator adds; None is a value that only the cluster knows.
    """

    job: Document
    pods: Pods
    container: Mapping[str, Any]
    path: str
    nodes: int
    processes: str
    endpoint: str
    variables: Mapping[str, str | None]


def trainings(documents: Sequence[Document]) -> Iterator[Training]:
    """The jobs among these objects whose pods are labelled as ours."""
    runtimes = {one.name: one for one in documents if one.kind == "TrainingRuntime"}
    for job in documents:
        if job.kind == "PyTorchJob":
            for pods in pods_of(job):
                yield from _ours(job, pods, _v1(job, pods))
        elif job.kind == "TrainJob":
            runtime = runtimes.get(str(at(job.value, "spec.runtimeRef.name")))
            for pods in pods_of(runtime) if runtime else []:
                yield from _ours(job, pods, _v2(job))


def _v1(job: Document, pods: Pods) -> "_Told":
    processes = str(job.spec.get("nprocPerNode", "auto"))
    endpoint = f"{job.name}-worker-0:{_PORTS[job.kind]}"
    policy = job.spec.get("elasticPolicy") or {}
    least, most = (policy.get(key, pods.replicas) for key in ("minReplicas", "maxReplicas"))
    told = {
        "PET_NNODES": f"{least}:{most}",
        "PET_RDZV_ENDPOINT": endpoint,
        "PET_RDZV_BACKEND": "c10d",
    }
    return pods.replicas, processes, endpoint, {**told, "PET_NPROC_PER_NODE": processes}


def _v2(job: Document) -> "_Told":
    trainer = job.spec.get("trainer") or {}
    nodes, processes = trainer.get("numNodes", 1), str(trainer.get("numProcPerNode", "auto"))
    host, port = f"{job.name}-node-0-0.{job.name}", str(_PORTS[job.kind])
    told = {
        "PET_NNODES": str(nodes),
        "PET_MASTER_ADDR": host,
        "PET_MASTER_PORT": port,
        "PET_NODE_RANK": "0",
    }
    return nodes, processes, f"{host}:{port}", {**told, "PET_NPROC_PER_NODE": processes}


_Told = tuple[int, str, str, Mapping[str, str]]
"""Of a job: pods, processes of each, where they meet, and the variables that say so."""


def _ours(job: Document, pods: Pods, told: _Told) -> Iterator[Training]:
    if pods.labels.get(_LABEL) != _OURS:
        return
    nodes, processes, endpoint, added = told
    containers = [(path, one) for path, one in pods.containers() if ".containers." in path]
    path, container = containers[0]
    own = {one["name"]: one.get("value") for one in container.get("env") or []}
    variables = {**own, **added}
    yield Training(job, pods, container, path, nodes, processes, endpoint, variables)


def problems(training: Training, documents: Sequence[Document]) -> Iterator[Finding]:
    """What is wrong with the flags of a job's pods, and the recipe that they name."""
    found, path = training.pods.document.finding, f"{training.path}.args"
    typed = []
    if not training.processes.isdecimal():
        key = "nprocPerNode" if training.job.kind == "PyTorchJob" else "trainer.numProcPerNode"
        yield training.job.finding(f"spec.{key}", f"{training.processes} is no number; give one")
        return
    for number, word in enumerate(training.container.get("args") or []):
        for name in _VARIABLE.findall(word):
            if name not in training.variables and not training.container.get("envFrom"):
                yield found(
                    f"{path}.{number}",
                    f"{shown(word)} names a variable that the container does not have; add it to env",
                )
                return
        typed.append(_VARIABLE.sub(lambda one: training.variables.get(one[1]) or one[0], word))
    try:
        options = _parser().parse_known_args(typed)[0]
        plan = launch_from(options)
    except UserError as error:
        yield found(path, str(error))
        return
    if options.config is None or options.out is None:
        yield found(path, "has no --config or no --out; give both")
        return
    yield from _numbers(training, options, plan.nodes)
    yield from _grace(training, options.grace)
    yield from _place(training, options.out)
    yield from _devices(training)
    yield from _recipe(training, options, documents)


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(prog="train", allow_abbrev=False, add_help=False)
    parser.add_argument("--config")
    parser.add_argument("--out")
    parser.add_argument("--set", action="append", default=[])
    add_launch_arguments(parser)
    return parser


def _numbers(
    training: Training, options: argparse.Namespace, nodes: tuple[int, int]
) -> Iterator[Finding]:
    found, path = training.pods.document.finding, f"{training.path}.args"
    if nodes != (training.nodes, training.nodes):
        yield found(
            path,
            f"--nnodes {options.nnodes} is for another number than the job's {training.nodes} pods; give "
            "$(PET_NNODES)",
        )
    if str(options.nproc) != training.processes:
        yield found(
            path,
            f"--nproc {options.nproc} is not the job's number of processes, {training.processes}; give "
            "$(PET_NPROC_PER_NODE)",
        )
    if training.nodes > 1 and options.rdzv_endpoint != training.endpoint:
        yield found(
            path,
            f"--rdzv-endpoint {options.rdzv_endpoint} is not where the job's pods meet, "
            f"{training.endpoint}; give the operator's variables",
        )


def _grace(training: Training, grace_s: int) -> Iterator[Finding]:
    pods = training.pods
    period = pods.spec.get("terminationGracePeriodSeconds", 30)
    if period <= grace_s:
        yield pods.document.finding(
            f"{pods.path}.terminationGracePeriodSeconds",
            f"{period} is not more than --grace {grace_s}, which processes have before their pod is "
            "killed; give more, or less to --grace",
        )
    needed = sum(seconds(pods.annotations.get(key, "0s")) for key in (STEP, CHECKPOINT))
    if grace_s < needed:
        yield pods.document.finding(
            f"{training.path}.args",
            f"--grace {grace_s} is less than the longest step and the longest checkpoint, {needed} s, "
            f"which the annotations tell; give {needed} or more",
        )


def _place(training: Training, out: str) -> Iterator[Finding]:
    volumes = {volume["name"]: volume for _, volume in training.pods.volumes()}
    for mount in training.container.get("volumeMounts") or []:
        inside = out == mount["mountPath"] or out.startswith(f"{mount['mountPath'].rstrip('/')}/")
        if inside and "persistentVolumeClaim" in volumes[mount["name"]]:
            if mount.get("readOnly") or volumes[mount["name"]]["persistentVolumeClaim"].get(
                "readOnly"
            ):
                break
            return
    yield training.pods.document.finding(
        f"{training.path}.args",
        f"--out {shown(out)} is on no claim that can be written, and would be gone with the pod; mount one "
        f"at {RUNS}",
    )


def _devices(training: Training) -> Iterator[Finding]:
    limits = at(training.container, "resources.limits")
    gpus = {name: str(value) for name, value in limits.items() if name.startswith("nvidia.com/gpu")}
    for name, number in gpus.items():
        if number != training.processes:
            yield training.pods.document.finding(
                f"{training.path}.resources.limits.{name}",
                f"{number} for {training.processes} processes: each has one; give {training.processes}",
            )


def _recipe(
    training: Training, options: argparse.Namespace, documents: Sequence[Document]
) -> Iterator[Finding]:
    found, path = training.pods.document.finding, f"{training.path}.args"
    try:
        recipe = _load(training, options.config, options.set, documents)
    except UserError as error:
        yield found(path, f"--config {error}")
        return
    processes = training.nodes * int(training.processes)
    if processes > recipe.train.shards:
        yield found(
            path,
            f"{training.nodes} pods with {training.processes} processes cannot share the recipe's "
            f"train.shards {recipe.train.shards}; start fewer",
        )
    threads = training.variables.get("OMP_NUM_THREADS")
    if threads is not None and threads != str(recipe.train.threads):
        yield found(
            f"{training.path}.env",
            f"OMP_NUM_THREADS {threads} is not the recipe's train.threads, {recipe.train.threads}; give "
            "that",
        )


def _load(
    training: Training, config: str, overrides: Sequence[str], documents: Sequence[Document]
) -> TrainingRecipe:
    if "/" not in config and not config.endswith((".yaml", ".yml")):
        named = find_recipe(recipes(), config, Path(RUNS))
        return load_recipe(TrainingRecipe, named, overrides, Path(RUNS)).config
    # A process starts in the directory of runs.
    folder, _, key = os.path.join(RUNS, config).rpartition("/")
    text = _mounted(training, folder, documents).get(key)
    if text is None:
        raise UserError(
            f"{shown(config)}: no ConfigMap that is mounted has it; give {folder} one with {key}"
        )
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary, key)
        file.write_text(text, "utf-8")
        try:
            return load_recipe(TrainingRecipe, file, overrides, Path(RUNS)).config
        except UserError as error:
            raise UserError(str(error).replace(str(file), config)) from error


def _mounted(training: Training, folder: str, documents: Sequence[Document]) -> Mapping[str, str]:
    """The keys and values of the ConfigMap at a place."""
    volumes = {volume["name"]: volume for _, volume in training.pods.volumes()}
    maps = {one.name: one.value.get("data") or {} for one in documents if one.kind == "ConfigMap"}
    for mount in training.container.get("volumeMounts") or []:
        if mount["mountPath"] == folder:
            return maps.get(str(at(volumes[mount["name"]], "configMap.name")), {})
    return {}
