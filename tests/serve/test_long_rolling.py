"""The same as by day, fifty times."""

from pathlib import Path

import pytest

from tests.processes.forks import fork_server_for
from tests.serve.rolling import HAPROXY, restart_in_turn

pytestmark = pytest.mark.skipif(HAPROXY is None, reason="needs Debian's haproxy")
forks = fork_server_for("retort.serve.main", "retort.serve.engine.model_process")


def test_no_request_is_lost_or_refused_while_servers_are_restarted(tmp_path: Path) -> None:
    restart_in_turn(tmp_path, restarts=50)
