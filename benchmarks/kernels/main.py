"""How fast kernels of one order are, beside those that PyTorch takes from the processor's tuned library.

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
from retort.kernels.attention import Setting, attended
from retort.kernels.elementwise import dropout_at
from retort.kernels.library import usable
from retort.kernels.products import pack, product

_TOKENS = 1024
_MODELS = {
    "MiniLM": ((384, 384), (384, 1536), (1536, 384)),
    "DistilBERT": ((768, 768), (768, 3072), (3072, 768)),
    "LLaMA, 512 wide": ((512, 512), (512, 1376), (1376, 512)),
}
"""Inputs and outputs of the layers."""
_HEADS = {"MiniLM": (12, 32), "DistilBERT": (12, 64), "LLaMA, 512 wide": (8, 64)}
"""Heads and their width."""
_NEWS, _TEXTS = (20, 110), 32
"""From how many tokens to below how many, and how many texts."""
_LEAST, _EFFICIENT, _FASTER = 0.95, 0.9, 1.5


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


def pairs(inputs: int, outputs: int, threads: int, *, rounded: bool = False) -> list[Pair]:
    """The three products of a layer: forward, by its input and by its weight.

    Args:
        rounded: to bfloat16, activations in the time of both sides, weights before it.
    """
    drawn = torch.Generator().manual_seed(0)
    x = torch.randn(_TOKENS, inputs, generator=drawn)
    above = torch.randn(_TOKENS, outputs, generator=drawn)
    weight = torch.randn(outputs, inputs, generator=drawn)
    forward, backward = (pack(one, rounded=rounded) for one in (weight.t(), weight))
    operations = 2 * _TOKENS * inputs * outputs
    dtype = torch.bfloat16 if rounded else torch.float32
    theirs = weight.to(dtype)
    return [
        Pair(
            "forward",
            operations,
            lambda: product(x, forward, threads=threads),
            lambda: x.to(dtype) @ theirs.t(),
        ),
        Pair(
            "by input",
            operations,
            lambda: product(above, backward, threads=threads),
            lambda: above.to(dtype) @ theirs,
        ),
        Pair(
            "by weight",
            operations,
            lambda: product(above.t(), pack(x, rounded=rounded), threads=threads),
            lambda: above.to(dtype).t() @ x.to(dtype),
        ),
    ]


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(runs: int) -> Section:
    """One thread, float32: each product of each model."""
    return _measured(runs, "float32")


def measure_rounded(runs: int) -> Section:
    """The same of numbers rounded to bfloat16."""
    return _measured(runs, "bfloat16")


def _measured(runs: int, precision: str) -> Section:
    torch.set_num_threads(1)
    rows, ratios = [], []
    for model, layers in _MODELS.items():
        for inputs, outputs in layers:
            for pair in pairs(inputs, outputs, 1, rounded=precision == "bfloat16"):
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
        f"geometric mean of the ratios, {precision}, one thread",
        f"{mean:.2f}",
        f"at least {_LEAST}",
        mean >= _LEAST,
    )
    heads = ("model", "layer", "product", "ours, GFLOP/s", "PyTorch, GFLOP/s", "ratio")
    words = (
        f"## One thread, {precision}\n\n{_TOKENS} tokens; kernels for {usable()[-1].instructions}; medians of {runs} "
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


def attend(runs: int) -> Section:
    """Forward and backward of attention over texts as long as news, with dropout of its weights.

    PyTorch's takes batches of one length, so its texts are padded and a mask says where.
    """
    torch.set_num_threads(1)
    drawn = torch.Generator().manual_seed(0)
    lengths = torch.randint(*_NEWS, (_TEXTS,), generator=drawn)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    tokens, longest = int(offsets[-1]), int(lengths.max())
    seen = (torch.arange(longest) < lengths[:, None])[:, None, None]
    rows, ratios = [], []
    for model, (heads, width) in _HEADS.items():
        for probability in (0.1, 0.0):
            packed = [torch.randn(tokens, heads, width, generator=drawn) for _ in range(4)]
            padded = [torch.randn(_TEXTS, heads, longest, width, generator=drawn) for _ in range(4)]
            setting = Setting(width**-0.5, dropouts=(dropout_at(probability, 0),))

            def ours(packed: list[torch.Tensor] = packed, setting: Setting = setting) -> None:
                q, k, v, above = packed
                leaves = [one.requires_grad_() for one in (q, k, v)]
                made = attended(leaves[0], leaves[1], leaves[2], offsets, setting)
                torch.autograd.backward(made, above)

            def theirs(
                padded: list[torch.Tensor] = padded, probability: float = probability
            ) -> None:
                q, k, v, above = padded
                leaves = [one.requires_grad_() for one in (q, k, v)]
                made = torch.nn.functional.scaled_dot_product_attention(
                    *(leaves[0], leaves[1], leaves[2]), attn_mask=seen, dropout_p=probability
                )
                torch.autograd.backward(made, above)

            _seconds(ours), _seconds(theirs)
            taken = [(_seconds(ours), _seconds(theirs)) for _ in range(runs)]
            mine, other = (1000 * statistics.median(side) for side in zip(*taken, strict=True))
            ratio = statistics.median(two / one for one, two in taken)
            if probability:
                ratios.append(ratio)
            figures = (f"{mine:.1f}", f"{other:.1f}", f"{ratio:.2f}")
            rows.append((model, f"{heads} x {width}", str(probability), *figures))
    target = Target(
        "attention with dropout beside PyTorch's, at least",
        f"{min(ratios):.2f}",
        "at least 1.5",
        min(ratios) >= _FASTER,
    )
    heads_of = ("model", "heads", "dropout", "ours, ms", "PyTorch, ms", "ratio")
    words = (
        f"## Attention\n\nForward and backward, one thread; {_TEXTS} texts of {int(lengths.min())} to {longest} "
        f"tokens, {tokens} in all, which PyTorch pads to {_TEXTS * longest}."
    )
    return Section((target,), f"{words}\n\n{table(heads_of, rows, 'lllrrr')}")


def main(typed: Sequence[str]) -> int:
    """Measure, write and print; 1 if a target was missed."""
    parts = {
        "products": measure,
        "bfloat16": measure_rounded,
        "threads": scale,
        "attention": attend,
    }
    parser = arguments("kernels", __doc__ or "", tuple(parts))
    parser.add_argument("--runs", type=int, default=31)
    options = parser.parse_args(typed)
    page = Page("kernels", options.out)
    sections = [parts[name](options.runs) for name in options.parts]
    return 1 if page.write("Kernels", sections, ("torch", "ziglang"), typed) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
