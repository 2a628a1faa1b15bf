"""Measured figures as Markdown."""

import importlib.metadata
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """A figure that has to be reached."""

    what: str
    measured: str
    target: str
    reached: bool


@dataclass(frozen=True)
class Section:
    """A part of the result: its targets, and its text under a heading."""

    targets: tuple[Target, ...]
    text: str


def document(
    title: str, sections: Sequence[Section], command: str, libraries: Sequence[str]
) -> str:
    """The whole result.

    Args:
        command: that was typed.
        libraries: distributions whose versions matter.
    """
    targets = [one for section in sections for one in section.targets]
    rows = [
        (one.what, one.measured, one.target, "yes" if one.reached else "**no**") for one in targets
    ]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in libraries]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (
        "\n\n".join(
            [
                f"# {title}",
                f"`{command}` on {len(os.sched_getaffinity(0))} cores ({_processor()}), "
                f"{memory:.0f} GB of memory, Linux {platform.release()}. "
                f"{', '.join([f'Python {platform.python_version()}', *versions])}.",
                table(("what", "measured", "target", "reached"), rows, "llll"),
                *(section.text for section in sections),
            ]
        )
        + "\n"
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], sides: str) -> str:
    """A table in Markdown; `sides` has l or r for each column."""
    rule = ["---:" if side == "r" else "---" for side in sides]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, rule, *rows))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
