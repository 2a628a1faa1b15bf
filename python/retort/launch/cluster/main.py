"""`//launch:cluster`: a local cluster, from its start to Ctrl-C."""

from retort.core.signals import starting

if __name__ == "__main__":
    starting()

import argparse
import logging
import shlex
from collections.abc import Sequence

from retort.core.cli import Arguments, Invocation, positive, run
from retort.core.errors import RetortError
from retort.core.paths import check_place
from retort.launch.cluster.cluster import HISTORY, Cluster
from retort.launch.cluster.serving.serving import bind

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
    directory = Invocation.from_environment().resolve(options.directory)
    check_place(directory)
    with Cluster(directory, bind(options.host, options.port), options.history) as cluster:
        kubeconfig = shlex.quote(str(cluster.kubeconfig))
        _log.info(
            "ready: %s; try: kubectl --kubeconfig %s get all --all-namespaces; or: export KUBECONFIG=%s",
            *(cluster.url, kubeconfig, kubeconfig),
        )
        cluster.wait()
    raise ServerEnded("the API server has ended; what it said of that is above")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Arguments(
        prog="cluster",
        description="Run a Kubernetes API server on this machine, for development, for kubectl.",
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
        "--port", type=_port, default=0, help="port to listen on; 0 takes a free one (%(default)s)"
    )
    parser.add_argument(
        "--history",
        type=positive,
        default=HISTORY,
        metavar="N",
        help="changes that are remembered for those who watch (%(default)s)",
    )
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is not a port: 0 to 65535")
    return port


if __name__ == "__main__":
    run(main)
