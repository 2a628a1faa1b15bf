"""`//launch:cluster`: a local cluster, from its start to Ctrl-C."""

from retort.core.signals import starting

if __name__ == "__main__":
    starting()

import argparse
import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

from retort.core.cli import Arguments, Invocation, port, positive, run
from retort.core.errors import RetortError
from retort.core.paths import check_place
from retort.launch.cluster.cluster import HISTORY, Cluster
from retort.launch.cluster.serving.serving import bind
from retort.launch.cluster.workloads import WorkloadOptions

TRAINING_IMAGE = "registry.example/retort-training"
"""As the overlays in k8s/ name it."""
_log = logging.getLogger("retort.launch")


class ServerEnded(RetortError):
    """The server has ended though nobody has asked it to."""


def main(arguments: Sequence[str]) -> int:
    """Run a cluster until Ctrl-C, SIGTERM or SIGHUP.

    Raises:
        UserError: a flag is wrong, another cluster runs in the directory, or it cannot be written.
        ServerEnded: it cannot go on.
    """
    options = _parse(arguments)
    invocation = Invocation.from_environment()
    directory = invocation.resolve(options.directory)
    check_place(directory)
    workloads = WorkloadOptions(
        {**own_image(), **{name: invocation.resolve(path) for name, path in options.image}},
        is_plain=options.plain,
        pretended_gpus=options.pretend_gpus,
        gangs=options.gang_scheduling,
    )
    bound = bind(options.host, options.port)
    with Cluster(directory, bound, options.history, workloads) as cluster:
        kubeconfig = shlex.quote(str(cluster.kubeconfig))
        _log.info(
            "ready: %s; try: kubectl --kubeconfig %s get all --all-namespaces; or: export KUBECONFIG=%s",
            *(cluster.url, kubeconfig, kubeconfig),
        )
        cluster.wait()
    raise ServerEnded("the API server has ended; what it said of that is above")


def own_image() -> dict[str, Path]:
    """The trainer among the runfiles, if it is there, for the image that the overlays name."""
    trainer = Path(__file__).parents[2] / "train" / "main"
    return {TRAINING_IMAGE: trainer} if trainer.is_file() else {}


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Arguments(
        prog="cluster",
        description="Run a Kubernetes cluster on this machine, for development, for kubectl.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--directory",
        required=True,
        metavar="DIR",
        help="where its objects are kept; with the same directory, the next one goes on with them",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address of loopback to listen on (%(default)s)"
    )
    parser.add_argument(
        "--port", type=port, default=0, help="port to listen on; 0 takes a free one (%(default)s)"
    )
    parser.add_argument(
        "--image",
        type=_image,
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="what an image is: the directory of an OCI layout, found by its digest, too, or a program; again "
        f"for each image ({TRAINING_IMAGE} is //train)",
    )
    parser.add_argument(
        "--pretend-gpus",
        type=_count,
        default=0,
        metavar="N",
        help="grant pods so many GPUs that are not there (%(default)s)",
    )
    parser.add_argument(
        "--gang-scheduling",
        action="store_true",
        help="start the pods of a PyTorchJob all or none, by a PodGroup as Volcano's",
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="run pods as plain processes, although the kernel allows namespaces",
    )
    parser.add_argument(
        "--history",
        type=positive,
        default=HISTORY,
        metavar="N",
        help="changes that are remembered for those who watch (%(default)s)",
    )
    return parser.parse_args(arguments)


def _image(text: str) -> tuple[str, str]:
    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, path


def _count(text: str) -> int:
    count = int(text)
    if count < 0:
        raise argparse.ArgumentTypeError(f"{count} is less than none")
    return count


if __name__ == "__main__":
    run(main)
