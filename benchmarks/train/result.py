"""What the training comparison found, as Markdown."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from benchmarks.markdown import Section, Target, table
from benchmarks.train.comparison import Comparison
from benchmarks.train.padding import MAX_TOKENS
from benchmarks.train.parts import (
    ACCUMULATED,
    CONTRACT,
    CONTRACT_BF16,
    DDP,
    GROUPED,
    GROUPED_BF16,
    TRAINER,
    TRAINER_BF16,
    WHOLE,
    WORLD_SIZE,
)

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
    fastest = comparison.times_as_fast(CONTRACT_BF16, TRAINER)
    ours, theirs = (_accuracy(comparison, side) for side in (CONTRACT_BF16, TRAINER))
    margin = _half_width(theirs, held_out)
    shares = comparison.runs[CONTRACT_BF16][-1].shares
    targets = (
        Target(
            f"{corpus}: samples a second beside the {TRAINER}",
            f"{fastest:.2f} times",
            "at least 1.5 times",
            fastest >= 1.5,
        ),
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
        f"{_speeds(comparison, TRAINER)}\n\n{_gain(comparison)}"
    )
    return Section(targets, text)


def padding(shares: Mapping[str, Mapping[str, float]]) -> Section:
    """Shares of padding, by corpus and way."""
    ways = next(iter(shares.values()))
    rows = [(way, *(f"{found[way]:.1%}" for found in shares.values())) for way in ways]
    grid = table(("how texts are padded", *shares), rows, "l" + "r" * len(shares))
    return Section(
        (), f"## Padding\n\nIts share of what a model of {MAX_TOKENS} tokens reads.\n\n{grid}"
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


def _gain(comparison: Comparison) -> str:
    """Where a gain comes from, as factors whose product is about the whole."""
    way = [
        (TRAINER, ""),
        (GROUPED, "its own grouping by length"),
        (GROUPED_BF16, "its own bf16"),
        (TRAINER_BF16, "its own bf16"),
        (CONTRACT_BF16, "the rest, ours beside that"),
    ]
    sides = [(side, what) for side, what in way if side in comparison.runs]
    factors = [
        f"{what} {comparison.times_as_fast(side, before):.2f}"
        for (before, _), (side, what) in pairwise(sides)
    ]
    return f"The parts of the gain over the {TRAINER}, as factors: {', '.join(factors)}."


def _accuracy(comparison: Comparison, side: str) -> float:
    found = comparison.runs[side][-1].accuracy
    assert found is not None, f"{side} was not evaluated"
    return found


def _half_width(accuracy: float, documents: int) -> float:
    """Half of the 95 % Wilson score interval."""
    spread = accuracy * (1 - accuracy) / documents + _Z_95**2 / (4 * documents**2)
    width: float = _Z_95 / (1 + _Z_95**2 / documents) * spread**0.5
    return width
