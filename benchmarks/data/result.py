"""What was measured, as Markdown."""

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.data.comparison import Comparison
from benchmarks.data.corpus import HEAPS_BETA, HEAPS_K
from benchmarks.data.growth import Point, fit
from benchmarks.data.tokenizers import Kind
from benchmarks.data.tools import MAP, OURS, OURS_EXACT, TIKTOKEN, Task
from benchmarks.markdown import Section, Target, table

LIBRARIES = ("datasets", "gigatoken", "numpy", "tiktoken", "tokenizers", "torch", "transformers")
_WORKERS = Task.workers


def tools(comparison: Comparison, in_memory: Mapping[str, float]) -> Section:
    """Every tool with one tokenizer.

    Args:
        in_memory: bytes of text a second of encoders alone on one core, ours first.
    """
    kind, corpus, runs = comparison.kind, comparison.corpus, comparison.runs
    ours, exact = runs[OURS.name].seconds, runs[OURS_EXACT.name].seconds
    rows = [
        (
            name,
            f"{one.seconds:.2f} ({one.spread[0]:.2f} to {one.spread[1]:.2f})",
            f"{comparison.rate(name):.2f}",
            f"{comparison.content.tokens / one.seconds / 1e6:.2f}",
            f"{one.cpu_seconds:.1f}",
            f"{one.memory / 1e6:.0f}",
            f"{one.seconds / ours:.2f}",
            f"{one.seconds / exact:.2f}",
        )
        for name, one in sorted(runs.items(), key=lambda item: item[1].seconds)
    ]
    encoder, rate = next(iter(in_memory.items()))
    heads = (
        "tool",
        "seconds",
        "MB/s",
        "Mtok/s",
        "CPU s",
        "memory, MB",
        "times ours",
        "times ours, exact",
    )
    text = "\n\n".join(
        [
            f"## {kind}",
            f"{corpus.documents:,} documents, {corpus.text_bytes / 1e6:,.1f} MB of text, "
            f"{corpus.words:,} words of which {corpus.distinct_words:,} are distinct "
            f"(Heaps' law, {HEAPS_K} n^{HEAPS_BETA}), {comparison.content.tokens:,} tokens. "
            f"Medians of {len(runs[OURS.name].usages)} runs in turn, with the least and the most; "
            f"{_WORKERS} processes where nothing else is said. All tools left the same token "
            f"numbers: sha256 `{comparison.content.digest[:16]}`. The last two columns hold the "
            f"tool's seconds over those of `{OURS.name}` and of `{OURS_EXACT.name}`; no other tool "
            "validates anything.",
            table(heads, rows, "lrrrrrrr"),
            "In memory, on one core: "
            + ", ".join(f"{name} {one / 1e6:.2f} MB/s" for name, one in in_memory.items())
            + ".",
        ]
    )
    return Section(tuple(_tool_targets(comparison, encoder, rate)), text)


def _tool_targets(comparison: Comparison, encoder: str, rate: float) -> Iterable[Target]:
    kind, runs = comparison.kind, comparison.runs

    def times(peer: str, wanted: float) -> Target:
        found, exact = (runs[peer].seconds / runs[one.name].seconds for one in (OURS, OURS_EXACT))
        return Target(
            f"{kind}: as fast as {peer}",
            f"{found:.1f} times; {exact:.1f} with exact duplicates alone",
            f"at least {wanted:.0f} times",
            found >= wanted,
        )

    if kind == "BPE":
        yield times(MAP.name, 20)
        yield times(TIKTOKEN.name, 3)
        return
    yield times(MAP.name, 3)
    shares = [comparison.rate(one.name) * 1e6 / (_WORKERS * rate) for one in (OURS, OURS_EXACT)]
    yield Target(
        f"{kind}: end to end, of {_WORKERS} times the {encoder} encoder's rate in memory",
        f"{shares[0]:.2f}; {shares[1]:.2f} with exact duplicates alone",
        "at least 0.9",
        shares[0] >= 0.9,
    )


def reading(found: Mapping[str, Mapping[str, float]]) -> Section:
    """Batches out of stores, as `data_reading` tells."""
    rates, training = found["tokens_a_second"], found["training"]
    blocks, share = rates["BlockReader"] / 1e6, training["batch"] / training["step"]
    rows = [(name, f"{rate / 1e6:.1f}") for name, rate in rates.items()]
    return Section(
        (
            Target(
                "blocks read by one thread", f"{blocks:.0f} Mtok/s", "at least 150", blocks >= 150
            ),
            Target(
                "a batch's share of a training step of MiniLM, 8 texts of 64 tokens",
                f"{share:.2%} ({training['batch'] * 1e6:.0f} µs of "
                f"{training['step'] * 1e3:.1f} ms)",
                "under 1 %",
                share < 0.01,
            ),
        ),
        "## Reading\n\nOne thread, from the page cache: blocks of 1,024 tokens, eight at a time; "
        "texts in batches of 32 padded to 64, 128, 256 or 512 tokens, of which those of texts "
        f"count.\n\n{table(('way', 'Mtok/s'), rows, 'lr')}",
    )


def growth(points: Mapping[tuple[str, Kind], Sequence[Point]], limit: int, picture: str) -> Section:
    """Time and memory against size.

    Args:
        limit: of our memory, in MB.
        picture: the file of the picture.
    """
    rows = [
        (
            f"{tool}, {kind}",
            f"{point.text_bytes / 1e6:,.0f}",
            f"{point.documents:,}",
            f"{point.usage.seconds:.1f}",
            f"{point.text_bytes / point.usage.seconds / 1e6:.2f}",
            f"{point.usage.cpu_seconds:.1f}",
            f"{point.usage.memory / 1e6:.0f}",
        )
        for (tool, kind), line in points.items()
        for point in line
    ]
    targets = []
    for (tool, kind), line in points.items():
        if tool != OURS.name:
            continue
        most = max(point.usage.memory for point in line) / 1e6
        largest = line[-1].text_bytes / 1e6
        targets.append(
            Target(
                f"{kind}: memory up to {largest:,.0f} MB of text",
                f"{most:.0f} MB",
                f"under {limit} MB",
                most < limit,
            )
        )
        if len(line) > 2:
            straight = fit(line)
            targets.append(
                Target(
                    f"{kind}: time is linear in size",
                    f"{straight.start:.1f} s and {straight.each * 1e3:.1f} ms/MB; "
                    f"off by {straight.worst:.0%} at most",
                    "off by under 15 %",
                    straight.worst < 0.15,
                )
            )
    heads = ("tool", "MB of text", "documents", "seconds", "MB/s", "CPU s", "memory, MB")
    return Section(
        tuple(targets),
        f"## Growth\n\nOne run each, {_WORKERS} processes. Memory is that of all processes, what "
        f"they share counted once.\n\n{table(heads, rows, 'lrrrrrr')}\n\n![Growth]({picture})",
    )
