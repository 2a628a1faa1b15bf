"""As test_world_sizes, with more steps and every number of processes up to that of the shards."""

from pathlib import Path

from tests.processes.world_sizes import train_by, write_recipe

STEPS, SHARDS = 40, 8


def test_one_to_eight_processes_have_one_seal(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, STEPS)
    alone = train_by(1, recipe, tmp_path / "1")
    assert len(alone.kept) == STEPS // 2 - 1
    for processes in range(2, SHARDS + 1):
        assert train_by(processes, recipe, tmp_path / f"{processes}") == alone
