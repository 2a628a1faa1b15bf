"""As test_world_sizes, with more steps, and by one to eight processes of one thread and of two."""

from pathlib import Path

from tests.processes.world_sizes import train_by, write_recipe

STEPS, SHARDS = 20, 8


def test_one_to_eight_processes_of_one_thread_or_two_have_one_seal(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, STEPS)
    alone = train_by(1, recipe, tmp_path / "1")
    assert len(alone.kept) == STEPS // 2 - 1
    for processes in range(1, SHARDS + 1):
        for threads in (1, 2):
            out = tmp_path / f"{processes} of {threads}"
            assert train_by(processes, recipe, out, threads) == alone
