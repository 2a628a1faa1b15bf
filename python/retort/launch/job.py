"""`job.yaml`: a training run on a cluster, as a person writes it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from retort.core.config import Frozen, find_recipe, load_recipe, recipe_names
from retort.core.errors import ConfigError, UserError, shown
from retort.core.paths import resolved
from retort.launch.units import (
    Duration,
    JobName,
    ObjectName,
    Quantity,
    Variable,
    quantity,
    seconds,
)
from retort.train.recipe import TrainingRecipe, recipes

IMAGE = r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+@sha256:[0-9a-f]{64}"
"""An image by its digest, from a named registry."""
RUNS, DATA, RECIPES = "/runs", "/data", "/recipe"
"""Where a pod has its claims and its recipe."""
LEAVING_S = 5
"""Seconds of a pod's grace period for the agent to end its processes and say why, after their own."""
_MOST_PUSHED = 1 << 20
_SPOT_NOTICE = {"aks": 30, "gke": 30, "karpenter": 120}
"""Seconds from the notice to the end of a machine, which no grace period makes longer:
https://learn.microsoft.com/azure/virtual-machines/spot-vms,
https://cloud.google.com/kubernetes-engine/docs/concepts/spot-vms,
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html"""


class RunsConfig(Frozen):
    """The claim with the directories of runs, which outlives the job."""

    claim: ObjectName
    """A PersistentVolumeClaim of the job's namespace; the run is in a directory of the job's name."""
    size: Quantity | None = None
    """Of a claim that shall be made if it is not there; without it, it must be there."""
    storage_class: ObjectName | None = None
    """Of that claim; the cluster's default otherwise."""
    access: Literal["ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"] = "ReadWriteMany"
    """Of that claim. Pods on several machines need ReadWriteMany."""


class DataConfig(Frozen):
    """The claim with documents and weights, which pods only read."""

    claim: ObjectName
    """A PersistentVolumeClaim of the job's namespace, at /data of every pod."""


class MetricsConfig(Frozen):
    """Figures of the run for Prometheus, whose operator finds the pods by a PodMonitor."""

    port: int = Field(default=9400, ge=1024, le=65535)
    """Of each pod, where the figures are at /metrics."""
    labels: Mapping[str, str] = Field(default_factory=dict)
    """More labels of the PodMonitor, where a Prometheus looks at some of them alone, such as
    `release: prometheus`."""


class JobConfig(Frozen):
    """A training run as pods of a cluster. Quantities and names are as Kubernetes writes them."""

    called: ClassVar[str] = "the job"

    name: JobName
    """Of the job and, below /runs, of its run: the same name goes on with the same run."""
    image: str = Field(min_length=1)
    """REGISTRY/REPOSITORY@sha256:DIGEST, or the path of a file with what `//docker:training.push`
    printed. Never a tag, which may be another image tomorrow."""
    recipe: str = Field(min_length=1)
    """A training recipe's name, or its file, which becomes a ConfigMap."""
    overrides: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Keys of the recipe as `--set` takes them, such as `train.steps=200`."""
    nodes: int = Field(default=1, ge=1, le=999)
    """Pods."""
    processes: int = Field(default=1, ge=1, le=64)
    """Of each pod."""
    gpus: int = Field(default=0, ge=0, le=64)
    """Of each pod: none, or one for each process."""
    cpu: Quantity
    """Of each pod, requested and allowed."""
    memory: Quantity
    """Of each pod, requested and allowed. What is written to /dev/shm counts."""
    shared_memory: Quantity = "1Gi"
    """Size of /dev/shm of each pod."""
    runs: RunsConfig
    data: DataConfig | None = None
    grace: Duration = "2m"
    """From SIGTERM to SIGKILL of a pod, in which a checkpoint is made."""
    step: Duration = "10s"
    """The longest that a step takes; grace must have room for it."""
    checkpoint: Duration = "20s"
    """The longest that a checkpoint takes; grace must have room for it."""
    deadline: Duration | None = None
    """The job is ended this long after its start; none leaves it alone."""
    queue: ObjectName | None = None
    """A LocalQueue of Kueue, which starts the job when there is room for all its pods."""
    topology: str | None = Field(default=None, min_length=1)
    """With a queue: the label of machines, such as a rack's, within one value of which all pods must be."""
    priority: ObjectName | None = None
    """A PriorityClass."""
    spot: Literal["aks", "gke", "karpenter"] | None = None
    """Machines that may be taken away, of one of these: their labels and taints differ."""
    secrets: Annotated[tuple[ObjectName, ...], Field(strict=False)] = ()
    """Secrets of the namespace whose keys become environment variables."""
    metrics: MetricsConfig | None = None
    """Figures for Prometheus; `{}` takes all defaults. The cluster must have the Prometheus operator."""
    environment: Mapping[Variable, str] = Field(default_factory=dict)
    """More environment variables of each pod."""

    @property
    def grace_s(self) -> int:
        """Seconds that processes have to save and leave."""
        return seconds(self.grace) - LEAVING_S

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.gpus not in (0, self.processes):
            raise ValueError(
                f"gpus {self.gpus} with processes {self.processes}: each process has one GPU; give "
                "equal numbers, or gpus: 0"
            )
        if quantity(self.shared_memory) >= quantity(self.memory):
            raise ValueError(
                f"shared_memory {self.shared_memory} counts as memory, of which there is "
                f"{self.memory}; give more memory"
            )
        needed = seconds(self.step) + seconds(self.checkpoint)
        if self.grace_s < needed:
            raise ValueError(
                f"grace {self.grace} is too short for a step of {self.step} and a checkpoint of "
                f"{self.checkpoint}; give {needed + LEAVING_S}s or more"
            )
        if self.spot is not None and seconds(self.grace) > _SPOT_NOTICE[self.spot]:
            raise ValueError(
                f"grace {self.grace}: machines of spot: {self.spot} are gone after "
                f"{_SPOT_NOTICE[self.spot]}s; give no more, and checkpoints.minutes to the recipe"
            )
        if self.topology is not None and self.queue is None:
            raise ValueError("topology is what Kueue sees to; give a queue, too")
        if self.runs.size is None and self.runs.storage_class is not None:
            raise ValueError("runs.storage_class is of a claim that is made; give runs.size, too")
        if self.nodes > 1 and self.runs.access != "ReadWriteMany":
            raise ValueError(
                f"runs.access {self.runs.access} with nodes {self.nodes}: pods on several machines "
                "write to it; give ReadWriteMany"
            )
        return self


@dataclass(frozen=True)
class Job:
    """A job with everything that it names.

    Attributes:
        image: by digest.
        recipe: with the overrides.
        image_bytes: what a machine fetches that has none of it, where its push has told.
        recipe_file: name and text of a recipe that is not one of the image's own.
    """

    config: JobConfig
    image: str
    recipe: TrainingRecipe
    recipe_file: tuple[str, str] | None = None
    image_bytes: int | None = None


def load_job(source: Path, overrides: Sequence[str], start: Path) -> Job:
    """Read a job, apply overrides such as `nodes=4`, and read its recipe and image.

    Args:
        start: the directory that relative paths in the job and the overrides start from.
    Raises:
        ConfigError: names the key, what is allowed, and the file or override that is wrong.
    """
    file = shown(source)
    if not source.is_file():
        raise ConfigError(f"{file}: there is no such file; give that of a job")
    config = load_recipe(JobConfig, source, overrides, start).config
    image, size = _image(config.image, start, file)
    try:
        found = find_recipe(recipes(), config.recipe, start)
        # What is relative in a recipe starts where a pod's process starts.
        recipe = load_recipe(TrainingRecipe, found, config.overrides, Path(RUNS)).config
    except ConfigError as error:
        raise ConfigError(f"{file}: recipe: {str(error).removeprefix('--config ')}") from error
    _check_shards(config, recipe, file)
    named = config.recipe in recipe_names(recipes())
    text = None if named else (found.name, found.read_text("utf-8"))
    if text is not None and not re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", text[0], re.ASCII):
        raise ConfigError(
            f"{file}: recipe {shown(text[0])}: a ConfigMap has no key of that name; rename the file, in "
            "letters, digits, -, _ and ."
        )
    return Job(config, image, recipe, text, size)


def _check_shards(config: JobConfig, recipe: TrainingRecipe, file: str) -> None:
    processes = config.nodes * config.processes
    if processes > recipe.train.shards:
        raise ConfigError(
            f"{file}: nodes {config.nodes} with processes {config.processes}: {processes} cannot share "
            f"the recipe's train.shards {recipe.train.shards}; start fewer, or choose more shards (which "
            "is another recipe, with another result)"
        )


def _image(text: str, start: Path, file: str) -> tuple[str, int | None]:
    """An image by digest, and its size where a push has told it."""
    if re.fullmatch(IMAGE, text, re.ASCII):
        return text, None
    if "@" in text or not text.startswith(("/", "./", "../", "~")):
        raise ConfigError(
            f"{file}: image {shown(text)} is not REGISTRY/REPOSITORY@sha256:DIGEST; give what "
            "//docker:training.push printed, or the file that it was written to, such as ./pushed.json"
        )
    try:
        path = resolved(text, start)
        with path.open("rb") as opened:
            said = opened.read(_MOST_PUSHED).decode("utf-8", "replace").split("\n")
    except UserError as error:
        raise ConfigError(f"{file}: image {error}") from error
    except OSError as error:
        raise ConfigError(
            f"{file}: image {shown(text)}: cannot be read: {error.strerror}; write to it what "
            "//docker:training.push prints"
        ) from error
    return _pushed(next((line for line in reversed(said) if line.strip()), ""), path, file)


def _pushed(line: str, path: Path, file: str) -> tuple[str, int | None]:
    """The image that the last line of a push names, with `--json` or without."""
    try:
        value = json.loads(line)
    except ValueError:
        words = line.split()
        value = {"image": words[1]} if len(words) > 1 and words[0] == "pushed" else None
    image = value.get("image") if isinstance(value, dict) else None
    if not isinstance(image, str) or not re.fullmatch(IMAGE, image, re.ASCII):
        raise ConfigError(
            f"{file}: image {shown(path)}: its last line names no image by digest; write to it what "
            "//docker:training.push prints"
        )
    size = value.get("bytes") if isinstance(value, dict) else None
    return image, size if isinstance(size, int) else None
