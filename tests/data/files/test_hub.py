"""The hub over a real socket: files at a commit, then from the cache alone; and being offline."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from retort.core.errors import HubUnavailable
from retort.data.files.hub import hub_files
from tests.tiny.hub import Hub, serving

REPOSITORY, COMMIT = "fancyzhx/ag_news", "eb185aade064a813bc0b7f42de02595523103ca4"
NAMES = ["data/train.parquet", "data/test.parquet"]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(REPOSITORY, COMMIT, {name: name.encode() for name in NAMES}) as server:
        yield server


def fetch(hub: Hub, cache: Path, names: list[str] = NAMES, repository: str = REPOSITORY) -> Path:
    return hub_files(repository, COMMIT, names, kind="dataset", endpoint=hub.endpoint, cache=cache)


def test_a_half_filled_cache_is_not_taken_for_whole(hub: Hub, tmp_path: Path) -> None:
    one = fetch(hub, tmp_path, NAMES[:1])
    assert not (one / NAMES[1]).exists()
    both = fetch(hub, tmp_path)
    assert all((both / name).is_file() for name in NAMES)


@pytest.mark.parametrize("status", [401, 404, 503])
def test_a_hub_that_refuses_is_unavailable(hub: Hub, tmp_path: Path, status: int) -> None:
    hub.status = status
    with pytest.raises(HubUnavailable, match="fancyzhx/ag_news is not in the local cache"):
        fetch(hub, tmp_path)


def test_a_name_that_no_hub_has_is_said(hub: Hub, tmp_path: Path) -> None:
    for name, reason in (("some/other", "none of this name"), ("so--me/one", "no such names")):
        with pytest.raises(HubUnavailable, match=f"{name} is not .* the hub has {reason}"):
            fetch(hub, tmp_path, repository=name)


def test_without_a_hub_the_error_says_what_to_do(hub: Hub, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(HubUnavailable, match=r"refused.*choose a recipe that needs no hub"):
            hub_files(REPOSITORY, COMMIT, NAMES, kind="dataset", endpoint=endpoint, cache=tmp_path)
