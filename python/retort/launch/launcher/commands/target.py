"""Which cluster, job and run a command means."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from retort.core.cli import Invocation
from retort.core.errors import UserError, shown
from retort.launch.job import Job, load_job
from retort.launch.launcher.api.client import Api, Place
from retort.launch.launcher.plan.cost import load_prices
from retort.launch.launcher.plan.plan import Around
from retort.launch.launcher.seen.jobs import ClusterJob, job_named
from retort.launch.launcher.seen.runs import RunDirectory, run_directory

_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Target:
    """What was typed, and where."""

    options: argparse.Namespace
    invocation: Invocation

    @property
    def is_file(self) -> bool:
        """Whether a job's file was named, not a job."""
        text = self.options.job
        return "/" in text or text.endswith(_SUFFIXES)

    def api(self) -> Api:
        """The cluster."""
        options = self.options
        return Api(Place(self._kubeconfig(), options.context, options.namespace))

    def job(self) -> Job:
        """The job of the file.

        Raises:
            ConfigError: it cannot be.
        """
        source = self.invocation.resolve(self.options.job)
        return load_job(source, self.options.set, self.invocation.working_directory)

    def found(self, api: Api) -> ClusterJob:
        """The job that is on the cluster.

        Raises:
            UserError: there is none of that name.
        """
        name = self.job().config.name if self.is_file else self.options.job
        found = job_named(api, name)
        if found is None:
            raise UserError(
                f"the namespace {api.namespace} has no PyTorchJob or TrainJob {shown(name)}; see list, or "
                "list --all-namespaces"
            )
        return found

    def run(self, name: str) -> RunDirectory | None:
        """The directory of a run, where this machine reaches it."""
        if self.options.runs is None:
            return None
        return run_directory(self.invocation.resolve(self.options.runs), name)

    def log(self, run: RunDirectory | None) -> Path | None:
        """Where logs are kept."""
        if self.options.file is not None:
            return self.invocation.resolve(self.options.file)
        return None if run is None else run.log

    def around(self, name: str) -> Around:
        """What a plan is made from besides the job."""
        options, resolve = self.options, self.invocation.resolve
        prices = None
        if options.prices is not None:
            prices = load_prices(resolve(options.prices), self.invocation.working_directory)
        layout = None if options.layout is None else resolve(options.layout)
        return Around(self.run(name), layout, prices, options.force_conflicts)

    def _kubeconfig(self) -> str | None:
        resolve = self.invocation.resolve
        if self.options.kubeconfig is not None:
            return str(resolve(self.options.kubeconfig))
        named = os.environ.get("KUBECONFIG", "").split(os.pathsep)
        paths = [resolve(one) for one in named if one]
        return os.pathsep.join(map(str, paths)) if any(one.exists() for one in paths) else None
