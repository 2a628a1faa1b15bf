"""Train a model by a recipe, with any number of processes.

python -m retort.train.main --config FILE_OR_NAME --set key=value --out DIR --nproc N

The same command goes on with a run that was interrupted, also with another number of processes.
"""

from retort.core.signals import starting

if __name__ == "__main__":
    starting()

import argparse
import os
import shlex
from collections.abc import Sequence

from retort.core.cli import Arguments, Invocation, port, run
from retort.core.config import recipe_names
from retort.core.errors import UserError
from retort.core.machine import machine_memory
from retort.core.paths import check_place
from retort.core.signals import nothing_begun
from retort.train.processes.environment import is_worker
from retort.train.processes.launch import (
    COLLECTIVE_TIMEOUT_S,
    add_launch_arguments,
    launch,
    launch_from,
    seconds,
    without_launch_arguments,
)
from retort.train.recipe import TrainingRecipe, recipes
from retort.train.run.directory import CHECKPOINT, check_usable, clear
from retort.train.run.request import Request, load, typed

_OVERWRITE = "--overwrite"
WORKER = "retort.train.run.worker"
"""What imports all that a run needs."""
_PROCESS_BYTES = 1 << 26
"""What a process has in memory for itself alone once PyTorch is loaded."""


def main(arguments: Sequence[str]) -> int:
    """Run one recipe, or list those that have names."""
    options = _parser().parse_args(arguments)
    if options.list:
        print("\n".join(recipe_names(recipes())))
        return 0
    if options.config is None or options.out is None:
        raise UserError("give --config FILE_OR_NAME and --out DIR, or --list to see the recipes")
    invocation = Invocation.from_environment()
    out = invocation.resolve(options.out)
    check_place(out)
    plan = launch_from(options)
    checkpoint = shlex.quote(typed(out / CHECKPOINT, invocation))
    request = Request(
        config=options.config,
        overrides=options.set,
        out=out,
        next_commands=f"./tools/bazel run //serve -- --checkpoint {checkpoint}",
        as_json=options.json,
        join_timeout_s=options.join_timeout,
        collective_s=options.collective_timeout,
        metrics_port=options.metrics_port,
        share_gpus=options.share_gpus,
    )
    if is_worker(os.environ, plan):
        if options.overwrite:
            raise UserError(
                f"{_OVERWRITE}: a process that is started again would remove what it should go on "
                f"with; remove {out} yourself, or have this command start the processes (--nproc)"
            )
        return _work(request, invocation)
    recipe = load(request, invocation)
    if options.overwrite:
        clear(out)
    check_usable(out)
    if not plan.is_plain:
        _check_processes(plan.nproc, recipe.config)
        left = [one for one in without_launch_arguments(arguments) if one != _OVERWRITE]
        launch(plan, WORKER, ["retort.train.main", *left])
    return _work(request, invocation)


def _work(request: Request, invocation: Invocation) -> int:
    # Takes seconds to import, which a process that only starts others can do without.
    with nothing_begun():
        from retort.train.run.worker import work

    return work(request, invocation)


def _check_processes(nproc: int, recipe: TrainingRecipe) -> None:
    if nproc > recipe.train.shards:
        raise UserError(
            f"--nproc: {nproc} processes cannot share train.shards {recipe.train.shards}; start "
            "at most as many, or choose more shards (which is another recipe, with another result)"
        )
    if nproc * _PROCESS_BYTES > machine_memory():
        raise UserError(
            f"--nproc: {nproc} processes need {nproc * _PROCESS_BYTES / 2**30:.1f} GiB of memory before "
            f"they begin, and this machine has {machine_memory() / 2**30:.1f}; start fewer"
        )


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(prog="train", description="Train a model by a recipe.", allow_abbrev=False)
    parser.add_argument("--config", metavar="FILE_OR_NAME", help="a recipe's file, or its name")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override one key of the recipe, such as optimizer.lr=3e-5; may be repeated",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="directory of the run; one that was interrupted there goes on",
    )
    parser.add_argument(_OVERWRITE, action="store_true", help="remove the run that DIR holds first")
    parser.add_argument(
        "--collective-timeout",
        type=seconds,
        default=COLLECTIVE_TIMEOUT_S,
        metavar="SECONDS",
        help="how long a process waits for the others in a step before it gives up (%(default)s); "
        "a checkpoint must be hashed in that time",
    )
    parser.add_argument(
        "--metrics-port",
        type=port,
        metavar="PORT",
        help="tell Prometheus the figures of the run at http://HOST:PORT/metrics, on each machine",
    )
    parser.add_argument(
        "--share-gpus",
        action="store_true",
        help="let processes share a GPU, and trade through the machine's memory: to see that their "
        "number is not in the seal, not to be fast",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    parser.add_argument("--list", action="store_true", help="print the names of the recipes")
    add_launch_arguments(parser)
    return parser


if __name__ == "__main__":
    run(main)
