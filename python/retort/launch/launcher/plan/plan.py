"""A plan: everything that launching a job would do, looked up and held to the rules."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retort.core.errors import UserError, one_line
from retort.launch.job import Job
from retort.launch.launcher.api.client import Api
from retort.launch.launcher.api.refusals import Refused
from retort.launch.launcher.api.resources import CLAIM, JOBS, LOCAL_QUEUE, SECRET, Resource
from retort.launch.launcher.plan.cost import Cost, Prices, cost
from retort.launch.launcher.plan.differences import Difference, differences
from retort.launch.launcher.plan.environment import environment
from retort.launch.launcher.plan.image import image_bytes
from retort.launch.launcher.seen.jobs import ClusterJob, job_named, job_of
from retort.launch.launcher.seen.runs import Newest, RunDirectory
from retort.launch.manifests import Operator, objects
from retort.launch.rules.check import check
from retort.launch.rules.documents import Applied, Document, Finding
from retort.launch.rules.schemas import Schemas

_FORBIDDEN = 403


@dataclass(frozen=True)
class Around:
    """What is known besides the job and the cluster.

    Attributes:
        runs: the run's directory, where this machine reaches it.
        layout: of the image, where it is at hand.
        force: whether fields are taken over from other managers.
    """

    runs: RunDirectory | None = None
    layout: Path | None = None
    prices: Prices | None = None
    force: bool = False


@dataclass(frozen=True)
class Plan:
    """
    Attributes:
        present: the job of that name that is there already.
        differences: of all objects, in the order in which they are applied.
        environment: of each pod.
        newest: the checkpoint that it goes on from; None where its run is not reached.
        image_bytes: None where it is not known.
    """

    job: Job
    operator: Operator
    present: ClusterJob | None
    differences: tuple[Difference, ...]
    environment: dict[str, dict[str, str]]
    cost: Cost
    newest: Newest | None
    image_bytes: int | None

    @property
    def wanted(self) -> ClusterJob:
        """The job as it is rendered."""
        return job_of(self.of_job.item)

    @property
    def of_job(self) -> Difference:
        """What becomes of the job itself."""
        kinds = [one.kind for one in JOBS]
        return next(one for one in self.differences if one.item["kind"] in kinds)


def make_plan(api: Api, job: Job, operator: Operator, around: Around) -> Plan:
    """Look up what launching a job would do. Nothing is written.

    Raises:
        UserError: the run is finished, an object breaks a rule, or something that the job names is
            not there.
    """
    name = job.config.name
    refuse_finished(around.runs, name)
    items = objects(job, operator)
    documents = [Document("the job", item) for item in items]
    hold_to_rules(documents, _there(api, job))
    present = job_named(api, name)
    _check_operator(present, operator)
    if present is not None and present.state == "Succeeded":
        raise UserError(
            f"{present.title} has succeeded, and a finished run is never started twice; give another "
            "name for another run (cancel --delete removes the job and keeps its run)"
        )
    return Plan(
        job,
        operator,
        present,
        tuple(differences(api, items, force=around.force)),
        environment(documents, operator),
        cost(job, around.prices),
        None if around.runs is None else around.runs.newest(),
        job.image_bytes if around.layout is None else image_bytes(around.layout, job.image),
    )


def refuse_finished(runs: RunDirectory | None, name: str) -> None:
    """A finished run is never started twice.

    Raises:
        UserError: it is finished.
    """
    if runs is not None and (sealed := runs.finished()) is not None:
        raise UserError(
            f"the run {name} is finished, and never started twice: seal {sealed.seal} {sealed.path}; give "
            "another name for another run"
        )


def hold_to_rules(documents: Sequence[Document], there: Sequence[str]) -> None:
    """Refuse objects that break a rule; all findings but the last are printed as they are.

    Raises:
        UserError: the last finding.
    """
    found = findings(documents, there)
    for one in found[:-1]:
        print(f"error: {one_line(str(one))}", file=sys.stderr)
    if found:
        raise UserError(str(found[-1]))


def findings(documents: Sequence[Document], there: Sequence[str]) -> list[Finding]:
    """What rules find in objects that are applied together (`retort.launch.rules`)."""
    definitions = os.environ.get("RETORT_CRDS")
    schemas = Schemas(Path(definitions) if definitions else None)
    return check(Applied(tuple(documents)), schemas, there)


def _check_operator(present: ClusterJob | None, operator: Operator) -> None:
    if present is not None and present.is_v1 != (operator == "v1"):
        other = "v1" if present.is_v1 else "v2"
        raise UserError(
            f"{present.title} is there already, of the other operator; give --operator {other}, or "
            "another name"
        )


def _there(api: Api, job: Job) -> list[str]:
    """What the job names and the namespace has.

    Raises:
        UserError: it has it not.
    """
    config = job.config
    claims = [] if config.runs.size is not None else [config.runs.claim]
    claims += [] if config.data is None else [config.data.claim]
    wanted: list[tuple[Resource, str, str]] = [
        *((CLAIM, name, "make it, or give runs.size, which makes that of runs") for name in claims),
        *((SECRET, name, "make it with kubectl create secret") for name in config.secrets),
    ]
    if config.queue is not None:
        mend = "give one that kubectl get localqueues shows"
        wanted.append((LOCAL_QUEUE, config.queue, mend))
    for resource, name, mend in wanted:
        if not _is_there(api, resource, name):
            raise UserError(
                f"{resource.kind.lower()}/{name}: the job names it, and the namespace {api.namespace} has none; "
                f"{mend}"
            )
    return [f"{resource.kind.lower()}/{name}" for resource, name, _ in wanted]


def _is_there(api: Api, resource: Resource, name: str) -> bool:
    try:
        return api.find(resource, name) is not None
    except Refused as error:
        # Who may not look, as secrets are often kept, is not told that it is missing.
        if error.status == _FORBIDDEN:
            return True
        raise
