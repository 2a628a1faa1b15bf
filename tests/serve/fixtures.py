"""Fixtures of tests of a server as it is typed."""

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from retort.models.checkpoint import Checkpoint, load_checkpoint
from retort.models.determinism import fix_arithmetic
from tests.serve.running import MAX_BODY, ServerProcess
from tests.tiny.checkpoints import write_served


@pytest.fixture(scope="session", params=["native", "portable"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed checkpoint in each arithmetic."""
    return write_served(tmp_path_factory.mktemp("checkpoints") / "tiny", request.param)


@pytest.fixture(scope="module")
def server(checkpoint: Path) -> Iterator[ServerProcess]:
    """One server for all tests of a file that leave it as it was."""
    with ServerProcess(checkpoint, "--max-body", str(MAX_BODY)) as started:
        yield started
        started.signal(signal.SIGTERM)
        assert started.wait() == (0, []), "nothing that the tests did made it complain"


@pytest.fixture(scope="module")
def loaded(checkpoint: Path) -> Checkpoint:
    """The same checkpoint in this process, computed with as many threads."""
    found = load_checkpoint(checkpoint)
    fix_arithmetic(found.threads)
    return found


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=None) as opened:
        yield opened
