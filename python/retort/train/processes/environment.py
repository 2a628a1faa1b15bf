"""What whoever started this process has told it of the others.

The only reader of the variables that torchrun, and operators that stand in for it such as
Kubeflow's PyTorchJob, set: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT, LOCAL_RANK,
LOCAL_WORLD_SIZE, TORCHELASTIC_USE_AGENT_STORE, TORCHELASTIC_RUN_ID and TORCHELASTIC_ERROR_FILE, and
of what operators set for torchrun PET_NNODES, PET_NPROC_PER_NODE and PET_NODE_RANK
(https://docs.pytorch.org/docs/stable/elastic/run.html#environment-variables).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retort.core.errors import UserError, shown
from retort.train.processes.launch import Launch

_REQUIRED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_PET = {"PET_NPROC_PER_NODE": "processes on each machine", "PET_NNODES": "machines"}


@dataclass(frozen=True)
class Endpoint:
    """Where the ranks meet, and which of them this one is.

    Attributes:
        hosted_by_agent: whether torchrun's agent hosts the store; otherwise rank 0 does.
    """

    host: str
    port: int
    rank: int
    size: int
    hosted_by_agent: bool

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def is_worker(environment: Mapping[str, str], plan: Launch) -> bool:
    """Whether torchrun, or something in its place, started this process as one of several.

    An operator sets RANK and WORLD_SIZE for a whole pod. That is one process unless flags ask for
    more, which then start them.

    Raises:
        UserError: flags and variables contradict each other, or the variables tell of processes that
            nobody would start.
    """
    ranked = bool(environment.get("RANK") and environment.get("WORLD_SIZE"))
    if ranked and ("TORCHELASTIC_RUN_ID" in environment or "LOCAL_RANK" in environment):
        if not plan.is_plain:
            raise UserError(
                "--nproc, --nnodes, --max-restarts: this process has been started as one of several "
                "(RANK and LOCAL_RANK are set); give them to what has started it, such as torchrun"
            )
        return True
    if not plan.is_plain:
        if ranked:
            _check_flags(environment, plan)
        return False
    for name in ("PET_NPROC_PER_NODE", *(() if ranked else ("PET_NNODES",))):
        most = environment.get(name, "").rpartition(":")[2]
        if re.fullmatch(r"[0-9]{1,6}", most, re.ASCII) and int(most) > 1:
            raise UserError(
                f"environment variable {name} asks for {most} {_PET[name]}, which nobody starts; "
                "start them with --nproc, --nnodes and --rdzv-endpoint, or by torchrun"
            )
    return ranked


def _check_flags(environment: Mapping[str, str], plan: Launch) -> None:
    """Refuse flags that start another run than the one whose part the environment says this is."""
    rank, size = number_of(environment, "RANK", 0), number_of(environment, "WORLD_SIZE", 1)
    machines = plan.nodes[1]
    # A pod's RANK is its number. WORLD_SIZE counts pods, or processes where the operator knows them.
    if rank >= machines or size not in (machines, machines * plan.nproc):
        raise UserError(
            f"environment variables RANK {rank} and WORLD_SIZE {size} tell of another run than the "
            f"flags, which are for {machines} machines with {plan.nproc} processes each; give --nproc, "
            "--nnodes and --rdzv-endpoint of the whole run, or unset the variables"
        )


def hosts_rendezvous(environment: Mapping[str, str]) -> bool | None:
    """Whether this machine hosts the place where machines meet, where an operator has numbered them.

    Without that number it is decided by names, of which a machine may not know its own yet.
    """
    if not environment.get("PET_NODE_RANK"):
        return None
    return number_of(environment, "PET_NODE_RANK", 0) == 0


def rank_name(environment: Mapping[str, str]) -> str:
    """How to name this process in a message, before it has joined the others and after."""
    return shown(f"rank {environment.get('RANK', 0)} of {environment.get('WORLD_SIZE', 1)}")


def error_file(environment: Mapping[str, str]) -> Path | None:
    """Where the agent that started this process wants to find its failure, if there is one."""
    path = environment.get("TORCHELASTIC_ERROR_FILE")
    return Path(path) if path else None


def endpoint_of(environment: Mapping[str, str]) -> Endpoint | None:
    """Where this process meets the others; None without any of torchrun's variables.

    Raises:
        UserError: a variable is missing or malformed.
    """
    if not any(environment.get(name) for name in _REQUIRED):
        return None
    missing = [name for name in _REQUIRED if not environment.get(name)]
    if missing:
        there = [name for name in _REQUIRED if environment.get(name)]
        raise UserError(
            f"environment variable{_are(missing)} not set, though {' and '.join(there)} "
            f"{'are' if len(there) > 1 else 'is'}; set all of {', '.join(_REQUIRED)}, or none to train alone"
        )
    size = number_of(environment, "WORLD_SIZE", 1)
    rank, port = number_of(environment, "RANK", 0), number_of(environment, "MASTER_PORT", 1)
    if rank >= size:
        raise UserError(f"environment variable RANK: {rank} is not below WORLD_SIZE, {size}")
    if port > 65535:
        raise UserError(f"environment variable MASTER_PORT: {port} is not a port; give 1 to 65535")
    agent = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return Endpoint(environment["MASTER_ADDR"], port, rank, size, hosted_by_agent=agent)


def number_of(environment: Mapping[str, str], name: str, least: int) -> int:
    """A variable as a whole number; `least` if it is not set.

    Raises:
        UserError: it is none, or below `least`.
    """
    text = environment.get(name, str(least))
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or int(text) < least:
        raise UserError(
            f"environment variable {name}: {shown(text)!r} is not a whole number from {least} on, of "
            "nine digits at most"
        )
    return int(text)


def _are(names: Sequence[str]) -> str:
    return f"s {' and '.join(names)} are" if len(names) > 1 else f" {names[0]} is"
