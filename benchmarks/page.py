"""A command that measures: what may be typed, and the page that it writes."""

import datetime
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.markdown import Section, document
from retort.core.cli import Arguments, Invocation


def arguments(name: str, description: str, parts: Sequence[str]) -> Arguments:
    """The flags of every such command."""
    parser = Arguments(prog=name, description=description.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts, help="all of them")
    parser.add_argument("--out", metavar="DIR", help="where the result goes")
    return parser


class Page:
    """`NAME-DATE.md`, with pictures beside it."""

    def __init__(self, name: str, out: str | None) -> None:
        """
        Args:
            name: of the command, which is `//benchmarks/NAME`.
            out: the folder as it was typed; without one, where the checkout keeps its results.
        """
        invocation = Invocation.from_environment()
        kept = invocation.workspace / "benchmarks" / "results"
        self._folder = invocation.resolve(out) if out else kept
        self._folder.mkdir(parents=True, exist_ok=True)
        self._name = name
        self._date = str(datetime.datetime.now(datetime.UTC).date())

    def picture(self, name: str) -> Path:
        """Where a picture goes."""
        return self._folder / f"{name}-{self._date}.svg"

    def write(
        self,
        title: str,
        sections: Iterable[Section],
        libraries: Sequence[str],
        typed: Sequence[str],
    ) -> list[str]:
        """Write it anew after each section, so that what was measured outlives the command; print it, and say which
        targets were missed.

        Args:
            sections: measured as they are asked for, or before.
            libraries: distributions whose versions matter.
            typed: the command's arguments.
        Returns:
            Those targets.
        """
        command = shlex.join(["./tools/bazel", "run", f"//benchmarks/{self._name}", "--", *typed])
        path = self._folder / f"{self._name}-{self._date}.md"
        found: list[Section] = []
        text = ""
        for section in sections:
            found.append(section)
            text = document(f"{title}, {self._date}", found, command, libraries)
            path.write_text(text, encoding="utf-8")
        print(text)
        missed = [one.what for section in found for one in section.targets if not one.reached]
        for what in missed:
            print(f"missed: {what}", file=sys.stderr)
        return missed
