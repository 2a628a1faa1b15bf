"""What a command tells while it waits: lines for people, or JSON lines for programs."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from retort.core.errors import one_line
from retort.core.progress import ProgressLine


class Console:
    """Lines on standard error with progress below them; with `as_json` objects on standard output."""

    def __init__(self, *, as_json: bool = False) -> None:
        self._as_json = as_json
        self._bar: ProgressLine | None = None
        self._first = 0

    def say(self, event: str, text: str, **facts: Any) -> None:
        """Tell what has happened.

        Args:
            event: its name, for programs.
            text: for people, in a line.
        """
        if self._as_json:
            self._print({"event": event, **(facts or {"text": text})})
        elif self._bar is not None:
            self._bar.say(one_line(text))
        else:
            print(one_line(text), file=sys.stderr, flush=True)

    def progress(self, step: int, steps: int | None, facts: str, values: Mapping[str, Any]) -> None:
        """Tell how far a run is: a bar where that can be, or a line now and then."""
        if self._as_json:
            self._print({"event": "progress", "step": step, "steps": steps, **values})
            return
        if steps is None:
            return
        place = f"step {step}/{steps}"
        if self._bar is None or step <= self._first:
            # How fast it is nobody knows yet.
            self._bar = self._bar or ProgressLine(steps, place, step)
            self._first = step
            self._bar.say(f"{place}  {facts}")
        else:
            self._bar.show(step, place, facts, at_once=step == steps)

    def close(self) -> None:
        """No more is told."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _print(self, value: Mapping[str, Any]) -> None:
        print(json.dumps(value, ensure_ascii=False), flush=True)
