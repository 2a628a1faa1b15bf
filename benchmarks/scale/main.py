"""What the contract's exchange costs up to 1,024 processes and 70 billion weights, on paper, and the check of it here.

    ./tools/bazel run //benchmarks/scale
    ./tools/bazel run //benchmarks/scale -- --out /tmp/scale

Counts what up to four processes of this machine really send, beside the formulas, and writes `scale-DATE.md`.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.markdown import Section, Target, table
from benchmarks.page import Page, arguments
from benchmarks.process import python, run_measured
from benchmarks.scale.costs import (
    Cost,
    Network,
    all_reduce,
    contract,
    fsdp,
    hashed,
    sliced,
    written,
)
from benchmarks.svg_file import write_svg
from retort.core.pictures import BLUE, INK, ORANGE, style


@dataclass(frozen=True)
class Model:
    """Attributes: weights in all, and of the largest tensor."""

    weights: int
    largest: int


MODELS: Mapping[str, Model] = {
    "MiniLM-L6, 22.7 M": Model(22_700_000, 30_522 * 384),
    "BERT-base, 110 M": Model(110_000_000, 30_522 * 768),
    "LLaMA, 1.1 G": Model(1_100_000_000, 32_000 * 2048),
    "LLaMA 2, 7 G": Model(6_740_000_000, 32_000 * 4096),
    "LLaMA 2, 70 G": Model(69_000_000_000, 8192 * 28_672),
}
WORLDS = (1, 2, 4, 8, 64, 512, 1024)
_WRITERS = (1, 8, 64, 1024)
NETWORKS = (
    Network("200 Gbit/s", 25e9, 5e-6),
    Network("10 Gbit/s", 1.25e9, 30e-6),
)
CARD = 80e9
"""Bytes of a GPU that many have."""
_CHECKED = (1, 2, 3, 4)
_CHECKED_SHARDS, _CHECKED_WEIGHTS = 8, 8_000_000
_NEAR = 0.02


def main(typed: Sequence[str]) -> int:
    """Write the page; 1 if what was counted is not what the formulas say."""
    parser = arguments("scale", __doc__ or "", ("check", "paper"))
    options = parser.parse_args(typed)
    page = Page("scale", options.out)
    sections = []
    if "check" in options.parts:
        sections.append(_check())
    if "paper" in options.parts:
        picture = page.picture("scale")
        write_picture(picture)
        sections.append(paper(picture.name))
    return int(bool(page.write("The exchange at scale", sections, ("torch",), typed)))


def _check() -> Section:
    rows, worst = [], 0.0
    for size in _CHECKED:
        command = python(
            *("benchmarks.scale.counted", "--world-size", size),
            *("--shards", _CHECKED_SHARDS, "--weights", _CHECKED_WEIGHTS),
        )
        _, said = run_measured(command, watch=False)
        ranks = json.loads(said.splitlines()[-1])
        found = max(rank["sent"] for rank in ranks)
        messages = max(rank["messages"] for rank in ranks)
        told = contract(_CHECKED_WEIGHTS, size, _CHECKED_SHARDS)
        worst = max(worst, abs(found / told.sent - 1) if told.sent else float(found > 0))
        worst = max(worst, float(messages != told.messages))
        seconds = max(rank["seconds"] for rank in ranks)
        rows.append(
            (
                str(size),
                f"{told.sent / 1e6:.1f}",
                f"{found / 1e6:.1f}",
                f"{told.messages} / {messages}",
                f"{seconds:.3f}",
            )
        )
    heads = ("processes", "formula, MB", "counted, MB", "messages", "seconds here")
    text = (
        f"## Check\n\nThe exchange of {_CHECKED_WEIGHTS / 1e6:.0f} million weights in {_CHECKED_SHARDS} logical "
        "shards by processes of this machine, counted at the collectives, of the rank that sends most. What is more "
        "than the formula fills blocks up. Seconds are those of gloo on loopback; from 3 on there are more processes "
        "than cores.\n\n"
        f"{table(heads, rows, 'rrrrr')}"
    )
    what = "bytes counted beside the formulas, worst"
    target = Target(what, f"{worst:.1%} more", f"within {_NEAR:.0%}", worst <= _NEAR)
    return Section((target,), text)


def _ways(model: Model, size: int) -> dict[str, Cost]:
    """Every rank has one shard."""
    return {
        "contract": contract(model.weights, size, size),
        "contract, `slices: weights`": sliced(model.weights, size, size, model.largest),
        "ring all-reduce (DDP)": all_reduce(model.weights, size),
        "FSDP": fsdp(model.weights, size, model.largest),
    }


def paper(picture: str) -> Section:
    """Memory and time by the formulas."""
    parts = []
    for name, model in MODELS.items():
        rows = []
        for way in _ways(model, 1):
            costs = [_ways(model, size)[way] for size in WORLDS]
            rows.append((way, *(_memory(one.held) for one in costs)))
        parts.append(f"{name} weights:\n\n{_grid('GB a rank', rows)}")
    memory = "\n\n".join(parts)
    parts = []
    for network in NETWORKS:
        rows = []
        for name, model in MODELS.items():
            for way in _ways(model, 1):
                costs = [_ways(model, size)[way] for size in WORLDS]
                rows.append((f"{name}, {way}", *(f"{one.seconds(network):.3g}" for one in costs)))
        kind = f"{network.name}, {network.latency * 1e6:.0f} µs a message"
        parts.append(f"{kind}:\n\n{_grid('seconds a step', rows)}")
    times = "\n\n".join(parts)
    uneven = contract(1_000_000, 3, 64)
    fast = NETWORKS[0]
    checkpoints = table(
        ("weights", *(f"written by {size:,}" for size in _WRITERS), "hashed"),
        [
            (
                name,
                *(f"{written(model.weights, size, fast):.3g} s" for size in _WRITERS),
                f"{hashed(model.weights):.3g} s",
            )
            for name, model in MODELS.items()
        ],
        "l" + "r" * (len(_WRITERS) + 1),
    )
    return Section(
        (),
        f"""## Memory

Weights, gradients, moments and what is received, in GB; activations are left out. Bold is more than
{CARD / 1e9:.0f} GB. One logical shard a rank.

{memory}

## Time

Seconds that a step's exchange takes of the rank that sends most, if nothing overlaps.

{times}

![Seconds of the exchange]({picture})

Three ranks of 64 shards hand over {uneven.sent / 4e6:.1f} times the weights, where two and four hand over 1.0 and 1.5:
ranges of shards that are no subtrees have several roots.

## Checkpoints

Nothing is gathered: a thread of each rank writes its slices of weights and moments into one file, and one of rank 0
hashes what all have written, while training goes on. Seconds at {fast.name} to storage, and at SHA-256's speed:

{checkpoints}""",
    )


def _memory(held: float) -> str:
    text = f"{held / 1e9:.3g}"
    return f"**{text}**" if held > CARD else text


def _grid(what: str, rows: Sequence[Sequence[str]]) -> str:
    return table((f"{what}, by ranks", *map(str, WORLDS)), rows, "l" + "r" * len(WORLDS))


def write_picture(file: Path) -> None:
    """Seconds of the exchange of 7 billion weights by the number of ranks."""
    model, network = MODELS["LLaMA 2, 7 G"], NETWORKS[0]
    sizes = [2**power for power in range(1, 11)]
    colours = (BLUE, BLUE, ORANGE, ORANGE)
    with style():
        figure = Figure(figsize=(8.0, 4.0))
        figure.set_layout_engine("constrained")
        axes = figure.subplots()
        for (way, colour), dashes in zip(
            zip(_ways(model, 1), colours, strict=True), ("-", "--", "-", "--"), strict=True
        ):
            seconds = [_ways(model, size)[way].seconds(network) for size in sizes]
            axes.plot(sizes, seconds, dashes, color=colour, label=way.replace("`", ""))
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(sizes, list(map(str, sizes)))
        axes.set_xlabel(f"ranks, 7 billion weights, {network.name}")
        axes.set_ylabel("seconds a step")
        axes.grid(alpha=0.15, color=INK)
        axes.legend(frameon=False)
        write_svg(figure, "Seconds of a step's exchange by the number of ranks", file)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
