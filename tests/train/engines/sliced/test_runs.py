"""Runs whose processes share out the weights have the seal of a run that does not."""

import json
from pathlib import Path

import pytest

from retort.core.seal import verify
from tests.processes.forks import NATIVE, TRAINING, fork_server_for
from tests.tiny.runs import as_if_killed_at_the_end, sealed, train, typed
from tests.tiny.tasks import MADE

server = fork_server_for(*TRAINING, *NATIVE)
SLICED = "train.slices=weights"


@pytest.fixture(scope="module", params=MADE)
def recipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MADE[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def seal(recipe: Path) -> str:
    """Of one process that has all weights."""
    return sealed(train(typed(recipe, recipe.parent / "alone")))


def test_two_processes_that_share_out_weights_have_the_same_seal(
    recipe: Path, seal: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert sealed(train(typed(recipe, run, "--nproc", "2", settings=[SLICED]))) == seal
    assert "slices" not in json.dumps(verify(run / "checkpoint").manifest.config)


def test_one_goes_on_where_the_other_was_killed(recipe: Path, seal: str, tmp_path: Path) -> None:
    """From shared out weights to whole ones and back, by another number of processes."""
    run = tmp_path / "run"
    sealed(train(typed(recipe, run, "--nproc", "2", settings=[SLICED])))
    for number, (processes, settings) in enumerate((("1", []), ("4", [SLICED]), ("1", [SLICED]))):
        run = as_if_killed_at_the_end(run, tmp_path / str(number))
        assert sealed(train(typed(recipe, run, "--nproc", processes, settings=settings))) == seal


@pytest.mark.parametrize(
    ("words", "settings", "told"),
    [
        (("--nproc", "3"), (), "as many of train.shards 4 on each process, and there are 3"),
        (("--nproc", "2"), ("train.arithmetic=native",), "computes in native"),
    ],
)
def test_what_cannot_be_shared_out_is_refused_in_one_line(
    recipe: Path, tmp_path: Path, words: tuple[str, ...], settings: tuple[str, ...], told: str
) -> None:
    done = train(typed(recipe, tmp_path / "run", *words, settings=[SLICED, *settings]))
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
