"""The first minute: the recipe `smoke` into runs/smoke, and what to try next."""

from retort.core.signals import starting

if __name__ == "__main__":
    starting()

import json
from collections.abc import Sequence
from pathlib import Path

from retort.core.cli import Arguments, Invocation, run
from retort.train.run.directory import clear
from retort.train.run.request import Request
from retort.train.run.worker import work

_PUBLISHED = Path(__file__).parents[3] / "tests" / "golden" / "seals.json"
_NEXT = """\
./tools/bazel run //serve -- --checkpoint runs/smoke/checkpoint
curl -s http://127.0.0.1:8000/predict --json '{"text": "The match ended in a draw."}'
./tools/bazel run //train -- --config bbc_minilm --out runs/bbc --nproc 2"""


def main(arguments: Sequence[str]) -> int:
    """Train, seal, verify, report."""
    parser = Arguments(prog="smoke", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    options = parser.parse_args(arguments)
    invocation = Invocation.from_environment()
    out = invocation.workspace / "runs" / "smoke"
    clear(out)
    request = Request(
        config="smoke",
        overrides=(),
        out=out,
        next_commands=_NEXT,
        as_json=options.json,
        join_timeout_s=0.0,
        collective_s=0.0,
        published=json.loads(_PUBLISHED.read_text(encoding="utf-8"))["smoke"],
    )
    return work(request, invocation)


if __name__ == "__main__":
    run(main)
