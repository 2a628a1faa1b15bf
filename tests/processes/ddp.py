"""The control of the contract: the same steps by PyTorch's own DistributedDataParallel.

Run as `python -m tests.processes.ddp RECIPE DIRECTORY RANK SIZE`. Micro-batches, dropout seeds, losses,
clipping and optimiser are those of the recipe; what differs is who adds up gradients in which order.
"""

import sys
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from retort.core.config import load_recipe
from retort.core.digest import sha256_bytes
from retort.core.forks.client import Captured
from retort.models.determinism import fix_arithmetic, seed_from
from retort.models.parameters import parameter_groups
from retort.train.engines.contract.tree import share_of
from retort.train.recipe import TrainingRecipe
from retort.train.run.schedule import learning_rate
from retort.train.tasks.open import open_task


def train(recipe: Path, directory: Path, size: int) -> str:
    """Have `size` processes train together; the SHA-256 of the weights."""
    directory.mkdir()
    command = ["tests.processes.ddp", str(recipe), str(directory)]
    processes = [Captured([*command, str(rank), str(size)]) for rank in range(size)]
    done = [process.wait() for process in processes]
    assert [process.returncode for process in done] == [0] * size, done[0].stderr
    digests = {process.stdout.strip() for process in done}
    assert len(digests) == 1, "ranks of one run ended with different weights"
    return digests.pop()


def _main(file: Path, directory: Path, rank: int, size: int) -> None:
    recipe = load_recipe(TrainingRecipe, file, (), directory).config
    fix_arithmetic(recipe.train.threads)
    task = open_task(recipe, directory, torch.device("cpu"), lambda function: function())
    meeting = f"file://{directory}/meeting"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
    model = DistributedDataParallel(task.model.train())
    weights = dict(task.model.named_parameters())
    groups = parameter_groups(task.model, recipe.model, recipe.optimizer.weight_decay)
    optimizer = torch.optim.AdamW(
        [
            {
                "params": [weights[name] for name in group.names],
                "weight_decay": group.weight_decay,
                "scale": group.lr_scale,
            }
            for group in groups
        ],
        betas=recipe.optimizer.betas,
        eps=recipe.optimizer.eps,
    )
    share = share_of(rank, size, recipe.train.shards)
    for step in range(recipe.train.steps):
        for shard in share:
            torch.manual_seed(seed_from(recipe.train.seed, "dropout", step, shard))
            with nullcontext() if shard == share[-1] else model.no_sync():
                with torch.autocast("cpu", torch.bfloat16):
                    loss = task.loss(model, task.micro_batch(step, shard), step)
                # DDP takes the mean over ranks, and the losses of shards are parts of a sum.
                (loss * size).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), recipe.optimizer.max_grad_norm)
        rate = learning_rate(recipe.schedule, recipe.optimizer.lr, step, recipe.train.steps)
        for settings in optimizer.param_groups:
            settings["lr"] = rate * settings["scale"]
        optimizer.step()
        optimizer.zero_grad()
    content = b"".join(one.detach().numpy().tobytes() for one in weights.values())
    print(sha256_bytes(content))
    distributed.destroy_process_group()


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
