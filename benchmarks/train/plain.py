"""The loop that anyone would write, in one process: no logical shards, no checkpoints, no logs."""

import argparse
import json
import os

import torch
from torch.nn.utils import clip_grad_norm_

from benchmarks.train.workload import MAX_NORM, Measured, StepTimes, Workload, digest_of
from retort.models.determinism import fix_arithmetic


def train(workload: Workload, *, deterministic: bool) -> Measured:
    """Train on the micro-batches of the workload, adding up gradients as PyTorch does.

    Args:
        deterministic: with kernels that give equal bits from run to run.
    """
    if deterministic:
        # cuBLAS gives equal bits only with a workspace of fixed size (its documentation, 2.1.4).
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        fix_arithmetic(workload.threads)
    torch.set_num_threads(workload.threads)
    store = workload.open()
    model = workload.model(len(store.labels))
    optimizer, reader = workload.optimizer(model), workload.reader(store)
    tokens = []
    times = StepTimes(workload.device)
    for step in range(workload.steps):
        for shard in range(workload.shards):
            workload.seed_dropout(step, shard)
            workload.loss(model, reader.batch(step, shard)).backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(model.parameters(), MAX_NORM)
        optimizer.step()
        optimizer.zero_grad()
        tokens.append(reader.tokens(step))
        times.step()
    return Measured(times.seconds, workload.batch, tokens, digest=digest_of(model))


def main() -> None:
    """One run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--whole", action="store_true", help="each batch in one piece")
    parser.add_argument("--deterministic", action="store_true")
    workload, options = Workload.from_command_line(parser)
    if options.whole:
        workload = workload.model_copy(update={"shards": 1})
    print(json.dumps(train(workload, deterministic=options.deterministic).to_json()))


if __name__ == "__main__":
    main()
