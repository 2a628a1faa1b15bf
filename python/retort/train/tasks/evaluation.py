"""Evaluation by all ranks together: each takes its share of the batches, all know the results."""

import torch
from torch import Tensor, nn

from retort.train.processes.world import World
from retort.train.tasks.task import Task


def held_out_results(task: Task, model: nn.Module, world: World) -> Tensor:
    """What the model says of the held-out documents: the same bits for every number of ranks.

    Batches are the same ones whoever computes them. Every rank computes as many, the last of them
    once more if need be, because a model that is shared out needs all ranks in each forward pass.

    Args:
        model: `task.model` or what wraps it; in training mode before and after.
    Returns:
        Results of all batches in their order, on the CPU.
    """
    batches = task.held_out.batches
    turns = -(-batches // world.size)
    numbers = [min(turn * world.size + world.rank, batches - 1) for turn in range(turns)]
    model.eval()
    results = [task.held_out.results(model, number).cpu() for number in numbers]
    model.train()

    doing = "while held-out documents were evaluated"
    lengths = world.gather(torch.tensor([len(one) for one in results]), doing)
    padded = results[0].new_zeros(turns, int(lengths.max()), *results[0].shape[1:])
    for turn, result in enumerate(results):
        padded[turn, : len(result)] = result
    every = world.gather(padded.reshape(-1), doing).view(world.size, *padded.shape)
    return torch.cat(
        [
            every[number % world.size, number // world.size][
                : int(lengths[number % world.size, number // world.size])
            ]
            for number in range(batches)
        ]
    )
