"""Twenty kills of a run's processes with kill -9, and no bit of the result is another."""

from pathlib import Path

from tests.processes.chaos import MOST, kill_again_and_again, recipe_to_kill, undisturbed
from tests.processes.forks import TRAINING, fork_server_for

server = fork_server_for(*TRAINING)
STEPS, KILLS, SEED = 120, 20, 0


def test_runs_that_are_killed_again_and_again_have_the_seal_of_the_one_that_was_left_alone(
    tmp_path: Path,
) -> None:
    recipe = recipe_to_kill(tmp_path / "inputs", STEPS)
    seal = undisturbed(recipe, tmp_path / "undisturbed")
    chaos = kill_again_and_again(recipe, tmp_path, KILLS, SEED)
    assert set(chaos.seals) == {seal}
    assert chaos.kills == KILLS
    assert chaos.sizes == set(range(1, MOST + 1))
    assert chaos.resumed >= 5
    assert chaos.in_a_save >= 3
    assert 1 <= chaos.before_the_first_step < KILLS
