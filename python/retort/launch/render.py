"""`bazel run //launch:render -- job.yaml`: the objects of a job, as YAML on standard output."""

import argparse
import json
import sys
from collections.abc import Sequence

from retort.core.cli import Arguments, Invocation, run
from retort.launch.job import load_job
from retort.launch.manifests import objects, to_yaml


def main(arguments: Sequence[str]) -> int:
    """Print what `kubectl apply -f -` takes: documents of YAML, or a List in JSON."""
    options = _parser().parse_args(arguments)
    invocation = Invocation.from_environment()
    source = invocation.resolve(options.job)
    job = load_job(source, options.set, invocation.working_directory)
    found = objects(job, options.operator)
    if options.json:
        print(json.dumps({"apiVersion": "v1", "kind": "List", "items": found}))
    else:
        sys.stdout.write(to_yaml(found))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(prog="render", description="Print a job's objects.", allow_abbrev=False)
    parser.add_argument("job", metavar="FILE", help="the job")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override one key of the job, such as nodes=4; may be repeated",
    )
    parser.add_argument(
        "--operator",
        choices=("v1", "v2"),
        default="v1",
        help="v1: a PyTorchJob; v2: a TrainJob with its TrainingRuntime (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print a List in JSON")
    return parser


if __name__ == "__main__":
    run(main)
