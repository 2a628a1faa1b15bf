"""One process of a training run, and what the first of them says at the end."""

import json
import logging
import os
import sys
import textwrap
from contextlib import ExitStack
from pathlib import Path

import torch

from retort.core.cli import Invocation, seal_line
from retort.core.config import to_yaml
from retort.core.errors import ConfigError, VerificationError, shown
from retort.models.arithmetic_variables import refuse_arithmetic_variables
from retort.train.processes.environment import endpoint_of
from retort.train.processes.failures import recorded
from retort.train.processes.world import joined
from retort.train.recipe import TrainingRecipe
from retort.train.run.directory import REPORT, begun_with
from retort.train.run.request import Request, load, typed
from retort.train.run.run import run_recipe
from retort.train.run.source import source_facts
from retort.train.run.verdict import RunResult
from retort.train.tasks.arithmetic import settled


def work(request: Request, invocation: Invocation) -> int:
    """Be one process of the run. The first says how it went: figures on standard error, the seal
    on standard output.

    Raises:
        VerificationError: the run finished, and its checkpoint is not what was promised.
    """
    with recorded(os.environ) as mark, ExitStack() as joining:
        endpoint = endpoint_of(os.environ)
        if endpoint is not None and endpoint.rank > 0:
            # What others than the first say is shown when they crash: it should say why.
            logging.getLogger("retort").setLevel(logging.WARNING)
        # Before the ranks meet: each finds a mistake that all have made by itself, and does not take
        # the end of another, who was faster, for a loss.
        recipe = settled(
            load(request, invocation), begun_with(request.out), on_gpu=torch.cuda.is_available()
        )
        if recipe.config.train.arithmetic == "native":
            refuse_arithmetic_variables(os.environ)
        _refuse_more_than_shards(recipe.config, endpoint.size if endpoint else 1)
        world = joining.enter_context(
            joined(
                os.environ,
                request.join_timeout_s,
                collective_timeout_s=request.collective_s,
                share_gpus=request.share_gpus,
            )
        )
        if world.is_main:
            print(
                f"# recipe {shown(recipe.name)}, resolved\n{to_yaml(recipe.config)}",
                file=sys.stderr,
            )
        source = source_facts(invocation.workspace)
        result = run_recipe(
            recipe,
            request.out,
            world,
            mark=mark,
            source=source,
            metrics_port=request.metrics_port,
        )
        if result is not None:
            portable = recipe.config.train.arithmetic == "portable"
            _tell(result, request, invocation, portable=portable)
    return 0


def _refuse_more_than_shards(config: TrainingRecipe, size: int) -> None:
    """
    Raises:
        ConfigError: there are more processes than logical shards.
    """
    if size > config.train.shards:
        raise ConfigError(
            f"train.shards: {config.train.shards} logical shards cannot be shared by {size} processes; "
            "start at most as many, or choose more shards (which is another recipe, with another "
            "result)"
        )


def _tell(result: RunResult, request: Request, invocation: Invocation, *, portable: bool) -> None:
    print(_summary(result, request.out, invocation), file=sys.stderr)
    if request.as_json:
        print(json.dumps(_as_json(result, request.out)))
    if result.failure is not None:
        sys.stdout.flush()
        raise VerificationError(f"{request.out}: {result.failure}")
    if request.published is not None:
        print(_compared(result.checkpoint.seal, request.published, portable), file=sys.stderr)
    print(f"next:\n{textwrap.indent(request.next_commands, '  ')}", file=sys.stderr)
    if not request.as_json:
        print(seal_line(result.checkpoint))


def _compared(seal: str, published: str, portable: bool) -> str:
    if not portable:
        return (
            "the seal is that of this kind of machine: the published one is of portable arithmetic"
        )
    if seal == published:
        return "the seal is as published"
    return (
        f"the seal is not the published one, {published}: something that decides it was changed here, or this "
        "processor computes otherwise, which would be a fault of Retort's"
    )


def _summary(result: RunResult, out: Path, invocation: Invocation) -> str:
    where = f"{result.seconds:.0f} s\nreport: {typed(out / REPORT, invocation)}"
    return f"\n{result.metrics.line()}, {where}"


def _as_json(result: RunResult, out: Path) -> dict[str, object]:
    return {
        "seal": result.checkpoint.seal,
        "path": str(result.checkpoint.path),
        "report": str(out / REPORT),
        "failure": result.failure,
        "metrics": result.metrics.to_json(),
        "seconds": result.seconds,
    }
