"""`bazel run //launch -- plan | launch | watch | logs | resume | cancel | list`: jobs on a cluster."""

from retort.core.signals import starting

if __name__ == "__main__":
    starting()

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from retort.core.cli import Arguments, Invocation, positive, run
from retort.launch.launcher.commands.ending import cancel
from retort.launch.launcher.commands.launching import launch, plan
from retort.launch.launcher.commands.listing import list_jobs
from retort.launch.launcher.commands.resuming import resume
from retort.launch.launcher.commands.target import Target
from retort.launch.launcher.commands.watching import logs, watch
from retort.launch.units import seconds

_STALL = "20m"
_NEVER = "never"
_Flag = tuple[tuple[str, ...], dict[str, Any]]


def main(arguments: Sequence[str]) -> int:
    """Do what is asked.

    Raises:
        RetortError: it cannot be done; in one line, why, and what to do.
    """
    options = _parser().parse_args(arguments)
    command: Callable[[Target], int] = options.command
    return command(Target(options, Invocation.from_environment()))


def _stall(text: str) -> int | None:
    if text == _NEVER:
        return None
    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, or {_NEVER}") from error


_EVERYWHERE: tuple[_Flag, ...] = (
    (("--kubeconfig",), {"metavar": "FILE", "help": "of the cluster; KUBECONFIG otherwise"}),
    (("--context",), {"help": "of the kubeconfig; its current one otherwise"}),
    (("--namespace", "-n"), {"metavar": "NAME", "help": "the context's otherwise"}),
    (("--json",), {"action": "store_true", "help": "print JSON on standard output"}),
    (
        ("--runs",),
        {"metavar": "DIR", "help": "where this machine has what pods have at /runs, if it has it"},
    ),
)
_OF_FILE: tuple[_Flag, ...] = (
    (
        ("--set",),
        {
            "metavar": "KEY=VALUE",
            "action": "append",
            "default": [],
            "help": "override one key of the job, such as nodes=4; may be repeated",
        },
    ),
    (
        ("--operator",),
        {
            "choices": ("v1", "v2"),
            "default": "v1",
            "help": "v1: a PyTorchJob; v2: a TrainJob with its TrainingRuntime (default: %(default)s)",
        },
    ),
)
_OF_PLAN: tuple[_Flag, ...] = (
    (("--yes", "-y"), {"action": "store_true", "help": "do it without asking"}),
    (
        ("--prices",),
        {"metavar": "FILE", "help": "currency, and prices of gpu, cpu, memory an hour"},
    ),
    (("--layout",), {"metavar": "DIR", "help": "the image's OCI layout, which tells its size"}),
    (
        ("--force-conflicts",),
        {"action": "store_true", "help": "take over fields that others have set"},
    ),
)
_FILE: _Flag = (
    ("--file",),
    {
        "metavar": "FILE",
        "help": "keep logs there; by default beside the run, where --runs tells it",
    },
)
_JOB_HELP = "the job's file, such as job.yaml"
_NAME_HELP = "the job's name, or its file"


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(
        prog="launch", description="Launch a job on a cluster, and mind it.", allow_abbrev=False
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Arguments)

    def add(name: str, command: Callable[[Target], int], words: str, *flags: _Flag) -> Any:
        one = commands.add_parser(name, help=words, description=f"{words}.", allow_abbrev=False)
        for names, how in (*_EVERYWHERE, *flags):
            one.add_argument(*names, **how)
        one.set_defaults(command=command)
        return one

    for name, command, words in (
        ("plan", plan, "Tell what launching a job would do, and ask"),
        ("launch", launch, "Tell what launching a job does, ask, and do it"),
    ):
        add(name, command, words, *_OF_FILE, *_OF_PLAN).add_argument(
            "job", metavar="FILE", help=_JOB_HELP
        )
    stall: _Flag = (
        ("--stall",),
        {
            "type": _stall,
            "default": _STALL,
            "metavar": "TIME",
            "help": "all pods are made anew when they live and nothing moves for so long "
            f"(%(default)s); more than a start, an evaluation or a checkpoint takes, or {_NEVER}",
        },
    )
    add("watch", watch, "Tell what happens to a job until it ends", *_OF_FILE, _FILE, stall)
    follow: _Flag = (
        ("--no-follow",),
        {"dest": "follow", "action": "store_false", "help": "end with what there is"},
    )
    add("logs", logs, "Print what all pods of a job say", *_OF_FILE, _FILE, follow)
    nodes: _Flag = (
        ("--nodes",),
        {"type": positive, "metavar": "N", "help": "another number of pods, for a job by its name"},
    )
    words = "Go on with a job that was cancelled or has failed, from its newest checkpoint"
    add("resume", resume, words, *_OF_FILE, *_OF_PLAN, nodes)
    delete: _Flag = (("--delete",), {"action": "store_true", "help": "remove the job, too"})
    add("cancel", cancel, "Have a job save and leave; its run is kept", *_OF_FILE, delete)
    for name in ("watch", "logs", "resume", "cancel"):
        commands.choices[name].add_argument("job", metavar="NAME_OR_FILE", help=_NAME_HELP)
    everywhere: _Flag = (
        ("--all-namespaces", "-A"),
        {"action": "store_true", "help": "of all of them"},
    )
    add("list", list_jobs, "Print the jobs of a namespace", everywhere)
    return parser


if __name__ == "__main__":
    run(main)
