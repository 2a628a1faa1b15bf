"""Worlds that evaluate a classifier together. Run as `python -m tests.processes.held_out RECIPE ROOT`."""

import sys
from pathlib import Path

from safetensors.torch import save_file

from retort.core.config import load_recipe
from retort.train.processes.world import World
from retort.train.recipe import TrainingRecipe
from retort.train.tasks.evaluation import held_out_results
from retort.train.tasks.open import open_task
from tests.processes.forked_worlds import run_worlds

WORLDS = (1, 2, 3, 7)


def main(recipe: Path, root: Path) -> None:
    """Write what each rank of each world knows at the end to `<root>/<world size>/<rank>`."""
    config = load_recipe(TrainingRecipe, recipe, [], root).config

    def work(world: World, directory: Path) -> None:
        task = open_task(config, directory, world.device, lambda function: function())
        task.model.train()
        results = held_out_results(task, task.model, world)
        assert task.model.training
        save_file({"results": results}, directory / str(world.rank))

    run_worlds(root, WORLDS, work)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
