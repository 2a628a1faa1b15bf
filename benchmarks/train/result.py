"""What the training comparison found, as Markdown."""

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.markdown import Section, Target, table
from benchmarks.train.comparison import Comparison
from benchmarks.train.gains import ALL
from benchmarks.train.parts import (
    ACCUMULATED,
    CONTRACT,
    CONTRACT_BF16,
    DDP,
    GROUPED,
    GROUPED_BF16,
    NANO,
    NANO_BF16,
    TRAINER,
    TRAINER_BF16,
    WHOLE,
    WORLD_SIZE,
)

_IN_BFLOAT16 = {"reviews": 1.5, "bbc_news": 1.3}
"""How many times as fast as a Trainer that does the same ours is to be."""
LIBRARIES = ("accelerate", "numpy", "tokenizers", "torch", "transformers")
_Z_95 = 1.959963984540054


def ddp(comparison: Comparison) -> Section:
    """The contract beside DDP."""
    cost = comparison.cost(CONTRACT, DDP)
    target = Target(
        f"what the contract costs beside {DDP}, {WORLD_SIZE} ranks",
        f"{cost:+.1%} time",
        "at most +5 %",
        cost <= 0.05,
    )
    text = (
        f"## {WORLD_SIZE} ranks\n\nEach rank has one thread and half of each step's micro-batches, "
        f"equal on both sides. {_protocol(comparison)}\n\n{_speeds(comparison, DDP)}"
    )
    return Section((target,), text)


def plain(comparison: Comparison) -> Section:
    """The contract beside plain loops."""
    cost = comparison.cost(CONTRACT, ACCUMULATED)
    whole = comparison.cost(CONTRACT, WHOLE)
    target = Target(
        "what the contract costs beside a plain loop, one process",
        f"{cost:+.1%} time; {whole:+.1%} beside whole batches",
        "at most +2 %",
        cost <= 0.02,
    )
    text = (
        "## One process\n\nTwo threads. The plain loop runs the same micro-batches and lets PyTorch "
        "add up their gradients, or runs each batch in one piece. "
        f"{_protocol(comparison)}\n\n{_speeds(comparison, ACCUMULATED)}"
    )
    return Section((target,), text)


def trainer(corpus: str, comparison: Comparison, held_out: int) -> Section:
    """The contract beside the Trainer, with accuracies.

    Args:
        held_out: documents that accuracy was measured on.
    """
    grouped = GROUPED_BF16 if GROUPED_BF16 in comparison.runs else TRAINER_BF16
    ours, theirs = (_accuracy(comparison, side) for side in (CONTRACT_BF16, TRAINER))
    margin = _half_width(theirs, held_out)
    shares = comparison.runs[CONTRACT_BF16][-1].shares
    targets = (
        _as_fast(corpus, comparison, CONTRACT_BF16, grouped, _IN_BFLOAT16[corpus]),
        _as_fast(corpus, comparison, CONTRACT, GROUPED, 1.5),
        Target(
            f"{corpus}: accuracy beside the {TRAINER}'s",
            f"{ours:.3f} and {theirs:.3f}",
            f"within {margin:.3f}, the half of the {TRAINER}'s 95 % interval",
            ours >= theirs - margin,
        ),
        Target(
            f"{corpus}: training waits for checkpoints every 50 steps",
            f"{shares['checkpoint']:.2%} of the time",
            "under 0.5 %",
            shares["checkpoint"] < 0.005,
        ),
        Target(
            f"{corpus}: training waits for the reader",
            f"{shares['data']:.2%} of the time",
            "under 1 %",
            shares["data"] < 0.01,
        ),
    )
    steps = len(comparison.runs[TRAINER][0].seconds)
    text = (
        f"## {corpus}, beside the Trainer\n\nThe same fine-tune of {steps} steps on two cores; accuracy "
        f"on {held_out:,} held-out documents. The {TRAINER} is one process of two threads and has its "
        "default settings but for the rates, the norm and the precision; ours is two processes of one "
        f"thread. {_protocol(comparison)}\n\n"
        f"{_speeds(comparison, GROUPED)}"
    )
    return Section(targets, text)


def language(comparison: Comparison) -> Section:
    """A LLaMA of ours beside a plain loop."""
    target = _as_fast("bbc_llama in bfloat16", comparison, CONTRACT_BF16, NANO_BF16, 1.3)
    text = (
        "## A language model from scratch\n\nThe recipe `bbc_llama`, in two processes of one thread, and the loop that "
        "nanoGPT has made common, over the same tokens and the same model, in one process of two. "
        f"{_protocol(comparison)}\n\n{_speeds(comparison, NANO)}"
    )
    return Section((target,), text)


def gains(comparisons: Mapping[str, Comparison]) -> Section:
    """What a step takes with one of its parts taken back, by work."""
    grids = []
    for title, comparison in comparisons.items():
        rows = []
        for way, runs in comparison.runs.items():
            seconds = statistics.median(one.seconds[0] for one in runs)
            rows.append((way, f"{seconds:.3f}", f"{comparison.times_as_fast(ALL, way):.3f}"))
        grids.append(f"{title}:\n\n{table(('step', 'seconds', 'times all of it'), rows, 'lrr')}")
    steps = len(next(iter(next(iter(comparisons.values())).runs.values())))
    return Section(
        (),
        "## What each part gains\n\nOur step with all of its parts, and with one taken back, in two processes of one "
        f"thread, which take turns step by step: medians of {steps} steps, and of their ratios.\n\n"
        + "\n\n".join(grids),
    )


def control(digests: Mapping[str, Mapping[int, str]]) -> Section:
    """Equal weights at all world sizes for ours, and other ones for DDP, or nothing was shown."""
    ours, theirs = (set(digests[side].values()) for side in (CONTRACT, DDP))
    targets = (
        Target(
            "seals at world sizes 1 and 2", f"{len(ours)} different", "one seal", len(ours) == 1
        ),
        Target(
            f"control: weights of {DDP} at world sizes 1 and 2",
            f"{len(theirs)} different",
            "two, or the comparison compares nothing",
            len(theirs) == 2,
        ),
    )
    rows = [
        (side, str(size), f"`{digest.removeprefix('sha256:')[:16]}`")
        for side, found in digests.items()
        for size, digest in found.items()
    ]
    grid = table(("side", "world size", "SHA-256"), rows, "lrl")
    return Section(
        targets,
        "## Control\n\nThree steps with dropout and clipping, one thread a rank, the dropout of both "
        f"sides seeded by step and shard: seals of ours, digests of {DDP}'s weights.\n\n{grid}",
    )


def _as_fast(what: str, comparison: Comparison, ours: str, theirs: str, target: float) -> Target:
    found = comparison.times_as_fast(ours, theirs)
    return Target(
        f"{what}: `{ours}` beside `{theirs}`",
        f"{found:.2f} times",
        f"at least {target} times",
        found >= target,
    )


def _protocol(comparison: Comparison) -> str:
    runs = next(iter(comparison.runs.values()))
    how = "One run each, in turn"
    if len(runs) > 1:
        how = f"Medians of {len(runs)} runs in turn, with the least and the most"
    return (
        f"{how}; start-up and the first {comparison.warm_up} of {len(runs[0].seconds)} steps are not "
        "counted."
    )


def _speeds(comparison: Comparison, base: str) -> str:
    rows = []
    for side in sorted(comparison.runs, key=comparison.rate, reverse=True):
        rates, accuracy = comparison.rates(side), comparison.runs[side][-1].accuracy
        rows.append(
            (
                side,
                _rate(comparison.rate(side), rates),
                f"{comparison.times_as_fast(side, base):.2f}",
                "" if accuracy is None else f"{accuracy:.4f}",
            )
        )
    heads = ("side", "samples/s", f"times {base}", "accuracy")
    return table(heads, rows, "lrrr")


def _rate(median: float, rates: Sequence[float]) -> str:
    spread = f" ({min(rates):.2f} to {max(rates):.2f})" if len(rates) > 1 else ""
    return f"{median:.2f}{spread}"


def _accuracy(comparison: Comparison, side: str) -> float:
    found = comparison.runs[side][-1].accuracy
    assert found is not None, f"{side} was not evaluated"
    return found


def _half_width(accuracy: float, documents: int) -> float:
    """Half of the 95 % Wilson score interval."""
    spread = accuracy * (1 - accuracy) / documents + _Z_95**2 / (4 * documents**2)
    width: float = _Z_95 / (1 + _Z_95**2 / documents) * spread**0.5
    return width
