"""PyTorch's DistributedDataParallel on the micro-batches of the contract: each rank its share.

Gradients are accumulated without communication and averaged with the last micro-batch's backward, as
its documentation says. Dropout is seeded by step and shard, which is not DDP's habit: so the only
difference from the contract is how gradients are added up.
"""

import argparse
import json
import tempfile
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import distributed
from torch.multiprocessing.spawn import start_processes
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from benchmarks.train.workload import MAX_NORM, Measured, StepTimes, Workload, digest_of


def main() -> None:
    """One run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world-size", type=int, required=True)
    workload, options = Workload.from_command_line(parser)
    with tempfile.TemporaryDirectory() as meeting:
        result = Path(meeting) / "result.json"
        arguments = (options.world_size, workload, result)
        start_processes(  # type: ignore[no-untyped-call]
            _rank, arguments, nprocs=options.world_size, start_method="fork"
        )
        print(result.read_text(encoding="utf-8"))


def _rank(rank: int, size: int, workload: Workload, result: Path) -> None:
    torch.set_num_threads(workload.threads)
    distributed.init_process_group(
        "gloo", init_method=f"file://{result.parent}/meeting", rank=rank, world_size=size
    )
    measured = _train(rank, size, workload)
    if rank == 0:
        result.write_text(json.dumps(measured.to_json()), encoding="utf-8")
    distributed.destroy_process_group()


def _train(rank: int, size: int, workload: Workload) -> Measured:
    store = workload.open()
    model = DistributedDataParallel(workload.model(len(store.labels)))
    optimizer, reader = workload.optimizer(model), workload.reader(store)
    shards = range(workload.shards * rank // size, workload.shards * (rank + 1) // size)
    distributed.barrier()
    times = StepTimes()
    for step in range(workload.steps):
        for shard in shards:
            workload.seed_dropout(step, shard)
            alone = model.no_sync() if shard != shards[-1] else nullcontext()
            with alone:
                # DDP divides by the number of ranks; the loss is divided by the step's documents.
                loss = workload.loss(model, reader.batch(step, shard)) * size
                loss.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(model.parameters(), MAX_NORM)
        optimizer.step()
        optimizer.zero_grad()
        times.step()
    return Measured(times.seconds, workload.batch, digest=digest_of(model.module))


if __name__ == "__main__":
    main()
