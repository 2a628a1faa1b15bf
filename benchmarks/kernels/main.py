"""How fast products of one order are, beside those that PyTorch takes from the processor's tuned library.

Both sides take turns, and the ratio of each pair counts, so that a machine that others slow down slows both. Weights
are packed before, as they are once a step; what a step packs anew is in the time.
"""

import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from benchmarks.markdown import Section, Target, table
from benchmarks.page import Page, arguments
from retort.kernels.library import usable
from retort.kernels.products import pack, product

_TOKENS = 1024
_MODELS = {
    "MiniLM": ((384, 384), (384, 1536), (1536, 384)),
    "DistilBERT": ((768, 768), (768, 3072), (3072, 768)),
    "LLaMA, 512 wide": ((512, 512), (512, 1376), (1376, 512)),
}
"""Inputs and outputs of the layers."""
_LEAST, _EFFICIENT = 0.95, 0.9


@dataclass(frozen=True)
class Pair:
    """A product by both sides.

    Attributes:
        operations: of floating point.
    """

    name: str
    operations: int
    ours: Callable[[], object]
    theirs: Callable[[], object]


def pairs(inputs: int, outputs: int, threads: int) -> list[Pair]:
    """The three products of a layer: forward, by its input and by its weight."""
    drawn = torch.Generator().manual_seed(0)
    x = torch.randn(_TOKENS, inputs, generator=drawn)
    above = torch.randn(_TOKENS, outputs, generator=drawn)
    weight = torch.randn(outputs, inputs, generator=drawn)
    forward, backward = pack(weight.t()), pack(weight)
    operations = 2 * _TOKENS * inputs * outputs
    return [
        Pair(
            "forward",
            operations,
            lambda: product(x, forward, threads=threads),
            lambda: x @ weight.t(),
        ),
        Pair(
            "by input",
            operations,
            lambda: product(above, backward, threads=threads),
            lambda: above @ weight,
        ),
        Pair(
            "by weight",
            operations,
            lambda: product(above.t(), pack(x), threads=threads),
            lambda: above.t() @ x,
        ),
    ]


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(runs: int) -> Section:
    """One thread: each product of each model."""
    torch.set_num_threads(1)
    rows, ratios = [], []
    for model, layers in _MODELS.items():
        for inputs, outputs in layers:
            for pair in pairs(inputs, outputs, 1):
                pair.ours(), pair.theirs()
                taken = [(_seconds(pair.ours), _seconds(pair.theirs)) for _ in range(runs)]
                ours, theirs = (
                    pair.operations / statistics.median(side) / 1e9
                    for side in zip(*taken, strict=True)
                )
                ratios.append(statistics.median(other / one for one, other in taken))
                layer = f"{inputs} to {outputs}"
                figures = (f"{ours:.1f}", f"{theirs:.1f}", f"{ratios[-1]:.2f}")
                rows.append((model, layer, pair.name, *figures))
    mean = math.exp(statistics.mean(map(math.log, ratios)))
    target = Target(
        "geometric mean of the ratios, float32, one thread",
        f"{mean:.2f}",
        f"at least {_LEAST}",
        mean >= _LEAST,
    )
    heads = ("model", "layer", "product", "ours, GFLOP/s", "PyTorch, GFLOP/s", "ratio")
    words = (
        f"## One thread\n\n{_TOKENS} tokens; kernels for {usable()[-1].instructions}; medians of {runs} "
        "in turn, and the median of the ratios of pairs."
    )
    return Section((target,), f"{words}\n\n{table(heads, rows, 'lllrrr')}")


def scale(runs: int) -> Section:
    """Two threads beside one, each of which has a core."""
    rows, shares = [], []
    for model, layers in _MODELS.items():
        for inputs, outputs in layers:
            one, two = (pairs(inputs, outputs, threads)[0].ours for threads in (1, 2))
            # Each after one of its kind, as in training: its threads have not gone to sleep.
            taken = [(one(), _seconds(one), two(), _seconds(two))[1::2] for _ in range(runs)]
            shares.append(statistics.median(single / (2 * both) for single, both in taken))
            rows.append((model, f"{inputs} to {outputs}", f"{shares[-1]:.2f}"))
    mean = statistics.mean(shares)
    target = Target(
        "parallel efficiency of two threads",
        f"{mean:.2f}",
        f"at least {_EFFICIENT}",
        mean >= _EFFICIENT,
    )
    heads = ("model", "layer", "efficiency")
    return Section((target,), f"## Two threads\n\n{table(heads, rows, 'llr')}")


def main(typed: Sequence[str]) -> int:
    """Measure, write and print; 1 if a target was missed."""
    parser = arguments("kernels", __doc__ or "", ("products", "threads"))
    parser.add_argument("--runs", type=int, default=31)
    options = parser.parse_args(typed)
    parts = {"products": measure, "threads": scale}
    page = Page("kernels", options.out)
    sections = [parts[name](options.runs) for name in options.parts]
    return 1 if page.write("Kernels", sections, ("torch", "ziglang"), typed) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
