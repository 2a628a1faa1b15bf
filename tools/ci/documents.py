"""Runs every command of README.md and docs/*.md, block by block, as a reader would type it.

A block fenced as `sh` is one Bash script in the checkout. A command that a gate runs anyway is left to that gate.
What a reader cannot run everywhere (an installation, a hub) is fenced as `text`. Targets named in the text must exist.
"""

import pathlib
import re
import subprocess
import sys
from collections.abc import Sequence

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))

from tools.ci.gates import GATES  # noqa: E402

_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TIMEOUT_SECONDS = 1200


def documents(root: pathlib.Path) -> list[pathlib.Path]:
    """The documents whose commands are run, in the order in which a newcomer reads them."""
    return [root / "README.md", *sorted(root.glob("docs/**/*.md"))]


def commands(block: str) -> list[str]:
    """The commands of a block: lines, joined where one ends in a backslash, less comments."""
    joined = block.replace("\\\n", " ")
    lines = (line.strip() for line in joined.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def run_by_a_gate(command: str) -> bool:
    """Whether a gate, or CI's call of that gate, is this very command."""
    typed = command.split()
    steps = [list(step) for gate in GATES for step in gate.commands]
    calls = [["tools/ci/gate", gate.name] for gate in GATES]
    plain = ["bazel", *typed[1:]] if typed[0] in ("bazel", "./tools/bazel") else typed
    return any(
        plain == (["bazel", *step[1:]] if step[0] == "./tools/bazel" else step)
        for step in [*steps, *calls]
    )


def scripts(text: str) -> list[str]:
    """A Bash script for each block of a document that has something left to run."""
    found = []
    for block in _BLOCK.findall(text):
        left = [command for command in commands(block) if not run_by_a_gate(command)]
        if left:
            found.append("\n".join(left))
    return found


def labels(text: str) -> list[str]:
    """The targets that a document names between backticks, as in `//train:smoke -- --json`."""
    found = re.findall(r"`(//[\w/-]*(?::[\w.-]+)?)[ `]", text)
    return sorted({label for label in found if label != "//"})


def query(names: Sequence[str], cwd: pathlib.Path) -> int:
    """Bazel's exit code: 0 if there is a target behind every name."""
    command = ["./tools/bazel", "query", "--noshow_progress", f"set({' '.join(names)})"]
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.DEVNULL, check=False)
    return done.returncode


def run(paths: Sequence[pathlib.Path], cwd: pathlib.Path) -> int:
    """Runs the blocks of these documents; 1 as soon as one fails."""
    ran = 0
    for path in paths:
        for script in scripts(path.read_text()):
            print(f"{path.name}:\n{script}", file=sys.stderr, flush=True)
            command = ["bash", "-euo", "pipefail", "-c", script]
            done = subprocess.run(command, cwd=cwd, timeout=_TIMEOUT_SECONDS, check=False)
            if done.returncode:
                print(f"{path}: exit code {done.returncode} from:\n{script}", file=sys.stderr)
                return 1
            ran += 1
    print(f"{ran} blocks of {len(paths)} documents ran", file=sys.stderr)
    return 0 if ran else 1


def main() -> int:
    """Returns 0 if every command ran and every target exists."""
    paths = documents(CHECKOUT)
    names = [label for path in paths for label in labels(path.read_text())]
    return query(names, CHECKOUT) or run(paths, CHECKOUT)


if __name__ == "__main__":
    sys.exit(main())
