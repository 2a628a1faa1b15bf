"""How the ranks of a run meet at a TCP store, so that one that is missing has its number named."""

import json
import logging
import secrets
import socket
import threading
import time
from datetime import timedelta

from torch.distributed import DistError, PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from retort.core.errors import UserError
from retort.train.processes.environment import Endpoint

_log = logging.getLogger(__name__)

_POLL_S = 0.05
_RETRY_S = 1.0
_HEAR_S = 10.0


class RankMissing(UserError):
    """A rank did not come to where all meet."""


def arrive(endpoint: Endpoint, timeout_s: float) -> Store:
    """Wait until all ranks are here.

    The agent keeps its store over restarts, and keys of an earlier start are still in it. So rank
    0 draws a name for this meeting, and gives it to whoever shows it a word drawn afresh.

    Returns:
        A store that is new to this meeting.
    Raises:
        RankMissing: a rank did not arrive in time.
        UserError: the place where they meet is not usable.
        DistError: the store was lost meanwhile, which is to say the rank or agent that hosts it.
    """
    deadline = time.monotonic() + timeout_s
    address = _resolve(endpoint, deadline, timeout_s)
    if endpoint.rank == 0 and not endpoint.hosted_by_agent:
        store = _host(endpoint)
    else:
        _knock(endpoint, address, deadline, timeout_s)
        store = _connect(endpoint, deadline, timeout_s)
    meeting = secrets.token_hex(8) if endpoint.rank == 0 else None
    if meeting is not None:
        _welcome(store, endpoint, meeting, deadline, timeout_s)
    else:
        meeting = _introduce(store, endpoint, deadline, timeout_s)
    return PrefixStore(f"retort/{meeting}", store)


def _resolve(endpoint: Endpoint, deadline: float, timeout_s: float) -> tuple[str, int]:
    """The host may get its name after us, as the first pod of a Kubernetes job does."""
    told = False
    while True:
        try:
            found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
            return str(found[0][4][0]), endpoint.port
        except (socket.gaierror, UnicodeError) as error:
            if time.monotonic() >= deadline:
                raise UserError(
                    f"MASTER_ADDR: host {endpoint.host!r} is unknown, also after {timeout_s:g} s "
                    f"({error}); give a name or address that this machine can resolve"
                ) from None
        if not told:
            _log.info("host %s is not known yet; trying for %g s", endpoint.host, timeout_s)
            told = True
        time.sleep(min(_RETRY_S, max(0.0, deadline - time.monotonic())))


def _host(endpoint: Endpoint) -> Store:
    try:
        return TCPStore(endpoint.host, endpoint.port, is_master=True, wait_for_workers=False)
    except DistError as error:
        if "EADDRINUSE" in str(error):
            raise UserError(
                f"MASTER_PORT: port {endpoint.port} is in use on {endpoint.host}; choose another, "
                "the same for all ranks"
            ) from None
        raise UserError(f"rank 0 cannot listen on {endpoint}: {error}") from None


def _knock(endpoint: Endpoint, address: tuple[str, int], deadline: float, timeout_s: float) -> None:
    """Wait for somebody to listen, without the store's warning for each attempt that fails."""
    while True:
        try:
            socket.create_connection(address, timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() >= deadline:
                host = "torchrun's agent" if endpoint.hosted_by_agent else "rank 0"
                raise RankMissing(
                    f"{host} did not arrive at {endpoint} within {timeout_s:g} s ({error}); rank "
                    f"{endpoint.rank} of {endpoint.size} waited for it"
                ) from None
        time.sleep(_POLL_S)


def _connect(endpoint: Endpoint, deadline: float, timeout_s: float) -> Store:
    """Connect in a thread: to a port where something else answers, it would wait for ever."""
    outcome: list[Store | Exception] = []

    def connect() -> None:
        try:
            outcome.append(
                TCPStore(
                    endpoint.host,
                    endpoint.port,
                    is_master=False,
                    timeout=timedelta(seconds=timeout_s),
                )
            )
        except Exception as error:  # handed to the thread that asked
            outcome.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(max(1.0, deadline - time.monotonic()))
    if not outcome or isinstance(outcome[0], Exception):
        detail = f" ({outcome[0]})" if outcome else ""
        raise UserError(
            f"{endpoint} answers, but not as the meeting place of a run{detail}; choose another "
            "MASTER_PORT, the same for all ranks"
        )
    return outcome[0]


def _welcome(
    store: Store, endpoint: Endpoint, meeting: str, deadline: float, timeout_s: float
) -> None:
    """Rank 0: name the meeting to all who come; say in it when all are here, or who is not."""
    missing = set(range(1, endpoint.size))
    welcomed: dict[int, bytes] = {}
    while missing and time.monotonic() < deadline:
        for rank in sorted(missing):
            if store.check([f"{meeting}/here/{rank}"]):
                missing.remove(rank)
            elif store.check([f"hello/{rank}"]):
                word = store.get(f"hello/{rank}")
                if welcomed.get(rank) != word:
                    store.set(f"welcome/{word.decode()}", meeting)
                    welcomed[rank] = word
        if missing:
            time.sleep(_POLL_S)
    store.set(f"{meeting}/missing", json.dumps(sorted(missing)))
    if missing:
        # The store ends with this process: those who came shall read it first.
        heard = [
            f"{meeting}/heard/{rank}" for rank in range(1, endpoint.size) if rank not in missing
        ]
        patience = time.monotonic() + _HEAR_S
        for key in heard:
            _await(store, key, patience)
        raise _missing(endpoint, sorted(missing), timeout_s)


def _introduce(store: Store, endpoint: Endpoint, deadline: float, timeout_s: float) -> str:
    """Any other rank: learn the meeting's name, be counted in it, and hear how it went."""
    word = secrets.token_hex(8)
    store.set(f"hello/{endpoint.rank}", word)
    if not _await(store, f"welcome/{word}", deadline):
        raise _missing(endpoint, [0], timeout_s)
    meeting = store.get(f"welcome/{word}").decode()
    store.set(f"{meeting}/here/{endpoint.rank}", "")
    # Rank 0 began later or earlier than this one, and its clock decides.
    if not _await(store, f"{meeting}/missing", time.monotonic() + timeout_s + _HEAR_S):
        raise _missing(endpoint, [0], timeout_s)
    missing = json.loads(store.get(f"{meeting}/missing"))
    store.set(f"{meeting}/heard/{endpoint.rank}", "")
    if missing:
        raise _missing(endpoint, missing, timeout_s)
    return meeting


def _await(store: Store, key: str, deadline: float) -> bool:
    while not store.check([key]):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _missing(endpoint: Endpoint, ranks: list[int], timeout_s: float) -> RankMissing:
    *most, last = [str(rank) for rank in ranks]
    named = f"ranks {', '.join(most)} and {last}" if most else f"rank {last}"
    return RankMissing(
        f"{named} of {endpoint.size} did not arrive at {endpoint} within {timeout_s:g} s; see "
        "whether they were started and can reach it"
    )
