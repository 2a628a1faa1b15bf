"""Two machines, each a network name space, and the link between them that is cut while they train."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from retort.core.forks.client import ADDRESS
from retort.train.processes.world import PeerLost
from tests.processes.train import free_port

_FIRST, _SECOND = "10.9.0.1", "10.9.0.2"
_INSIDE = ("unshare", "--user", "--map-root-user", "--net", "--uts", "--mount")
# Stays for as long as its standard input is open. The other machine is process $other, when it says so.
_MACHINES = f"""
set -e
mount --bind "$2" /etc/hosts
hostname first
ip link set lo up
mkfifo "$1"
unshare --net --uts sh -c 'hostname second; ip link set lo up; echo > "$1"; exec sleep infinity' sh "$1" & other=$!
trap "kill $other" EXIT
read _ < "$1"
ip link add first type veth peer name second netns $other
ip addr add {_FIRST}/24 dev first
ip link set first up
nsenter --net=/proc/$other/ns/net sh -c "ip addr add {_SECOND}/24 dev second; ip link set second up"
echo "machines $$ $other"
cat
"""


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Ways into two machines, as the beginning of a command; the first has a link named `first`."""
    if any(shutil.which(name) is None for name in ("ip", "nsenter", "unshare")):
        pytest.skip("no ip, nsenter and unshare")
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{_FIRST} first\n{_SECOND} second\n")
    process = subprocess.Popen(
        [*_INSIDE, "sh", "-c", _MACHINES, "sh", str(tmp_path / "there"), str(hosts)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("machines"):
            ways = [_way_into(number) for number in line.split()[1:]]
            break
    else:
        _, errors = process.communicate()
        pytest.skip(f"this user may not make network name spaces: {errors}")
    yield ways[0], ways[1]
    process.communicate()


def _way_into(number: str) -> list[str]:
    spaces = ("--user", "--net", "--uts", "--mount")
    return ["nsenter", f"--target={number}", *spaces, "--preserve-credentials"]


def test_a_link_that_is_cut_ends_all_with_the_code_of_a_lost_peer(
    machines: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    place = f"first:{free_port()}"
    started = []
    for number, way in enumerate(machines):
        flags = ["--nnodes", "2", "--rdzv-endpoint", place, "--collective", "3", "--grace", "1"]
        flags += ["--until", str(tmp_path / "never"), "--traces", str(tmp_path), "--pause", "0.05"]
        with (tmp_path / f"log-{number}").open("w") as log:
            started.append(
                subprocess.Popen(
                    [*way, sys.executable, "-m", "tests.processes.train", *flags],
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    # A server outside is in another network.
                    env={
                        **{name: value for name, value in os.environ.items() if name != ADDRESS},
                        "PET_NODE_RANK": str(number),
                    },
                )
            )
    logs = [tmp_path / "log-0", tmp_path / "log-1"]
    while not all(
        any(f"rank {rank} step 3" in file.read_text() for file in tmp_path.glob("[0-9]*"))
        for rank in range(2)
    ):
        assert all(process.poll() is None for process in started), [log.read_text() for log in logs]
        time.sleep(0.02)
    subprocess.run([*machines[0], "ip", "link", "set", "first", "down"], check=True)
    codes = [process.wait() for process in started]
    said = [log.read_text() for log in logs]
    assert codes == [PeerLost.exit_code] * 2, said
    for rank, text in enumerate(said):
        assert f"error: rank {rank} of 2 lost another rank in step " in text
