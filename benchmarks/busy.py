"""A training step beside other work, with threads that spin at a barrier and with threads that sleep.

    python -m benchmarks.busy --spinning 0 --steps 40
    python -m benchmarks.busy --spinning 8 --steps 5

Each side is a process of two threads that trains the same model from the same start; they take
turns, a step each, while so many other processes spin. Their weights must have equal bits at the end.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

SIDES = {
    "libgomp's own": {"OMP_WAIT_POLICY": "", "GOMP_SPINCOUNT": ""},
    "spin 1,000": {"OMP_WAIT_POLICY": "", "GOMP_SPINCOUNT": "1000"},
    "spin 5,000": {"OMP_WAIT_POLICY": "", "GOMP_SPINCOUNT": "5000"},
    "spin 10,000": {"OMP_WAIT_POLICY": "", "GOMP_SPINCOUNT": "10000"},
    "spin 20,000": {"OMP_WAIT_POLICY": "", "GOMP_SPINCOUNT": "20000"},
    "passive": {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": ""},
}


def train() -> None:
    """A step for each line that comes in; the digest of the weights at the end."""
    import torch
    from transformers import BertConfig, BertModel

    from retort.core.digest import sha256_bytes
    from retort.models.determinism import fix_arithmetic

    fix_arithmetic(2)
    torch.manual_seed(0)
    small = BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    model = BertModel(small)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    ids = torch.randint(30000, (4, 64))
    for line in sys.stdin:
        if not line.strip():
            break
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(4):
            model(input_ids=ids).last_hidden_state.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]), flush=True)
    content = b"".join(one.detach().numpy().tobytes() for one in model.parameters())
    print(sha256_bytes(content), flush=True)


@contextmanager
def spinning(count: int) -> Iterator[None]:
    """So many processes that do nothing but compute."""
    others = [
        subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(count)
    ]
    try:
        yield
    finally:
        for one in others:
            one.kill()
            one.wait()


def start(settings: dict[str, str]) -> "subprocess.Popen[str]":
    """One side. An empty variable is one that is not set."""
    environment = {**os.environ, **settings}
    for name in [name for name, value in settings.items() if not value]:
        del environment[name]
    command = [sys.executable, "-m", "benchmarks.busy", "--worker"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)


def answer(worker: "subprocess.Popen[str]", asked: str) -> str:
    """What a side says to a line."""
    assert worker.stdin
    assert worker.stdout
    worker.stdin.write(asked + "\n")
    worker.stdin.flush()
    return worker.stdout.readline().strip()


def main() -> None:
    """Measure all sides in turn and print them as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spinning", type=int, default=0, metavar="PROCESSES")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        train()
        return
    workers = {name: start(settings) for name, settings in SIDES.items()}
    taken: dict[str, list[list[float]]] = {name: [] for name in SIDES}
    for worker in workers.values():
        answer(worker, "warm up")
    with ExitStack() as stack:
        stack.enter_context(spinning(options.spinning))
        for _ in range(options.steps):
            for name, worker in workers.items():
                taken[name].append(json.loads(answer(worker, "step")))
    print("| waiting | wall, median s | wall, least s | CPU, median s |\n|---|---:|---:|---:|")
    for name, times in taken.items():
        wall, cpu = zip(*times, strict=True)
        median = statistics.median
        print(f"| {name} | {median(wall):.3f} | {min(wall):.3f} | {median(cpu):.3f} |")
    digests = {answer(worker, "") for worker in workers.values()}
    print(f"{len(digests)} digest of the weights: {', '.join(sorted(digests))}")
    if len(digests) != 1:
        sys.exit(1)


if __name__ == "__main__":
    main()
