"""A connection to a Ray cluster, and whether the cluster can still work."""

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from retort.core.errors import RetortError, UserError

LOCAL = "local"
AUTO = "auto"
_CONNECT_SECONDS = 10.0
_NO_TOKEN = ("AuthenticationError", "InvalidAuthToken")


@dataclass
class Cluster:
    """A cluster that this process is connected to.

    Attributes:
        address: as the user gave it.
        patience: seconds after which a cluster without a head, or without a node to work, is given
            up. A head may start again, and nodes may come back.
    """

    address: str
    patience: float
    _unwell_since: float | None = None

    def cores(self) -> int:
        """The cores of all living nodes, at least 1; asked again, it finds what has changed.

        Raises:
            RetortError: there has been no head or no node to work for too long.
        """
        head = ray.get_runtime_context().gcs_address
        cores = 0
        if refusal := _refusal(head, _CONNECT_SECONDS):
            lost = f"its head at {head} cannot be reached ({refusal})"
        else:
            nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
            cores = int(sum(one["Resources"].get("CPU", 0) for one in nodes if one["Alive"]))
            lost = f"no node with a core is left; add one (ray start --address={head})"
        now = time.monotonic()
        if cores > 0:
            self._unwell_since = None
            return cores
        self._unwell_since = self._unwell_since or now
        if now - self._unwell_since > self.patience:
            raise self.lost(lost)
        return 1

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Around a call that waits for the cluster: errors of ours for what breaks in it.

        Raises:
            RetortError: the node of this machine has gone.
        """
        try:
            yield
        except RayError:
            raise
        except OSError as error:
            raise self.lost(f"its node on this machine has gone ({error})") from error
        except SystemError as error:
            # So Ray wraps what the handler of a signal raises meanwhile, Ctrl-C's apart.
            raise (error.__cause__ or error) from None

    def lost(self, why: str) -> RetortError:
        """The error that it cannot be used any longer."""
        return RetortError(
            f"the Ray cluster at {self.address}: {why}; "
            "run the command again later: what was tokenised is kept"
        )


@contextmanager
def connected(address: str, workers: int | None, patience: float) -> Iterator[Cluster]:
    """Connect to a cluster, or start one here that ends with the connection.

    What Ray prints goes to standard error: standard output is for results.

    Args:
        address: HOST:PORT of a cluster's head; `auto`: that of the cluster that this machine is a
            node of; `local`: start one.
        workers: cores of the cluster that is started; None: all of this machine's.
    Raises:
        UserError: there is no cluster, it asks for a token, or its versions are not ours.
    """
    settings: dict[str, Any] = {}
    if address == LOCAL:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
        settings = {"num_cpus": workers, "include_dashboard": False}
    else:
        _check(address)
        # Something answers: one attempt, of some 40 seconds, says whether it is Ray.
        os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")
        # Otherwise Ray ends this process, by a line of its own, when it has waited a minute for a head.
        os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "3600")
    on_sigterm = signal.getsignal(signal.SIGTERM)
    with redirect_stdout(sys.stderr):
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **settings)
        except (OSError, RuntimeError, ValueError, RayError) as error:
            raise UserError(f"the Ray cluster at {address}: {_reason(error)}") from error
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own would end with another exit code
        try:
            yield Cluster(address, patience)
        finally:
            ray.shutdown()


def _check(address: str) -> None:
    """Refuse what cannot be an address or where nothing listens, which Ray finds out late."""
    if address == AUTO:
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise UserError(
            f"--address {address}: give HOST:PORT of a Ray cluster's head, on a machine that is a "
            f"node of it, or {AUTO} for the one that runs here, or {LOCAL} to start one"
        )
    if refusal := _refusal(address, _CONNECT_SECONDS):
        raise UserError(
            f"the Ray cluster at {address} cannot be reached: {refusal}; "
            "start one (ray start --head), or correct --address"
        )


def _refusal(address: str, timeout: float) -> str | None:
    """Why nothing can be reached at HOST:PORT; None if something can."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout).close()
    except (OSError, OverflowError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def _reason(error: BaseException) -> str:
    """Why Ray could not connect, in one line."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    told = " ".join(str(one) for one in chain)
    if any(sign in told for sign in _NO_TOKEN):
        return (
            "asks for another token than this machine has; set RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN or ~/.ray/auth_token to the cluster's"
        )
    return " ".join(str(error).split())
