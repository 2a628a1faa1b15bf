"""The first minute: the recipe `smoke` into runs/smoke, and what to try next."""

import argparse
from collections.abc import Sequence

from retort.core.cli import Invocation, run
from retort.train.main import train_and_report

_NEXT = """\
./tools/bazel run //serve -- --checkpoint runs/smoke/checkpoint
curl -s http://127.0.0.1:8000/predict --json '{"text": "The match ended in a draw."}'
./tools/bazel run //train -- --config bbc_minilm --out runs/bbc"""


def main(arguments: Sequence[str]) -> int:
    """Train, seal, verify, report."""
    parser = argparse.ArgumentParser(prog="smoke", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    options = parser.parse_args(arguments)
    invocation = Invocation.from_environment()
    out = invocation.workspace / "runs" / "smoke"
    return train_and_report(
        "smoke",
        [],
        out,
        invocation,
        next_commands=_NEXT,
        overwrite=True,
        as_json=options.json,
    )


if __name__ == "__main__":
    run(main)
