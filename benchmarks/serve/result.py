"""The page of the comparison of servers."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Literal, TypeAlias

from benchmarks.markdown import Section, Target, table
from benchmarks.serve.load import Measured

Side: TypeAlias = Literal[
    "retort",
    "retort, bfloat16",
    "retort, int8",
    "PyTorch, one text at a time",
    "ONNX Runtime, one text at a time",
    "ONNX Runtime, int8, one text at a time",
    "LitServe, PyTorch, batches",
]
Runs: TypeAlias = Mapping[Side, Mapping[int, list[Measured]]]
_ORT: Side = "ONNX Runtime, one text at a time"
_ORT_INT8: Side = "ONNX Runtime, int8, one text at a time"
_QUANTILES = (0.5, 0.9, 0.99)
_MOST_TAIL = 4.0
_TARGETS: tuple[tuple[Side, Side, float], ...] = (
    ("retort", _ORT, 1.3),
    ("retort, bfloat16", _ORT, 2.0),
    ("retort, int8", _ORT_INT8, 1.2),
    ("retort", "LitServe, PyTorch, batches", 2.0),
)


def section(
    part: str,
    runs: Runs,
    at_load: Mapping[Side, Sequence[Measured]],
    labels: Mapping[Side, Sequence[str]],
) -> Section:
    """One kind of texts.

    Args:
        runs: of each side, by the number of clients.
        at_load: of each side, at 70 % of what it can do at best.
        labels: what each side said of the same first texts.
    """
    rows = []
    for side, by_clients in runs.items():
        agreeing = sum(a == b for a, b in zip(labels[side], labels["retort"], strict=True))
        for clients, found in by_clients.items():
            rows.append(
                (
                    side,
                    str(clients),
                    f"{_rate(found):.1f}",
                    f"{_rate(found) / _rate(runs['retort'][clients]):.2f}",
                    f"{1e3 * median(one.quantile(0.5) for one in found):.1f}",
                    f"{1e3 * median(one.quantile(0.99) for one in found):.1f}",
                    f"{agreeing} of {len(labels[side])}",
                )
            )
    heads = ("side", "clients", "texts/s", "times retort", "p50, ms", "p99, ms", "labels as ours")
    loaded = [
        (
            side,
            f"{_rate(found):.1f}",
            *(f"{1e3 * median(one.quantile(share) for one in found):.1f}" for share in _QUANTILES),
            f"{_tail(found):.1f}",
        )
        for side, found in at_load.items()
    ]
    named = ("side", "texts/s", "p50, ms", "p90, ms", "p99, ms", "p99 over p50")
    text = (
        f"## {part}\n\nClients ask as soon as they are answered; medians of "
        f"{len(next(iter(next(iter(runs.values())).values())))} runs in turn.\n\n"
        f"{table(heads, rows, 'lrrrrrr')}\n\n"
        "Texts come by themselves, at 70 % of the most that the side has answered:\n\n"
        f"{table(named, loaded, 'lrrrrr')}"
    )
    return Section((*_targets(part, runs), _target_of_tail(part, at_load["retort"])), text)


def _tail(found: Sequence[Measured]) -> float:
    return median(one.quantile(0.99) / one.quantile(0.5) for one in found)


def _target_of_tail(part: str, found: Sequence[Measured]) -> Target:
    return Target(
        what=f"{part}: p99 over p50 of `retort` at 70 % load",
        measured=f"{_tail(found):.1f}",
        target=f"at most {_MOST_TAIL:g}",
        reached=_tail(found) <= _MOST_TAIL,
    )


def _targets(part: str, runs: Runs) -> "list[Target]":
    found = []
    for side, peer, least in _TARGETS:
        if peer not in runs or side not in runs:
            continue
        ratios = {
            clients: _rate(measured) / _rate(runs[peer][clients])
            for clients, measured in runs[side].items()
        }
        busiest = max(ratios)
        found.append(
            Target(
                what=f"{part}: `{side}` beside `{peer}`, {busiest} clients",
                measured=f"{ratios[busiest]:.2f} times",
                target=f"at least {least:g} times",
                reached=ratios[busiest] >= least,
            )
        )
    return found


def _rate(found: Sequence[Measured]) -> float:
    """Texts a second."""
    return median(one.texts / one.seconds for one in found)
