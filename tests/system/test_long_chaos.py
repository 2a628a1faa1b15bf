"""As test_chaos, with two hundred kills."""

from pathlib import Path

from tests.processes.chaos import MOST, kill_again_and_again, recipe_to_kill, undisturbed

STEPS, KILLS, SEED = 300, 200, 1


def test_two_hundred_kills_change_no_bit(tmp_path: Path) -> None:
    recipe = recipe_to_kill(tmp_path / "inputs", STEPS)
    seal = undisturbed(recipe, tmp_path / "undisturbed")
    chaos = kill_again_and_again(recipe, tmp_path, KILLS, SEED)
    assert set(chaos.seals) == {seal}
    assert chaos.kills == KILLS
    assert chaos.sizes == set(range(1, MOST + 1))
    assert chaos.resumed >= KILLS // 4
    assert chaos.in_a_save >= KILLS // 10
    assert KILLS // 20 <= chaos.before_the_first_step < KILLS
