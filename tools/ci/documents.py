"""Runs the commands of README.md and the documents beside it, block by block, as a reader would, and lists the others.

A block fenced as `sh` is one Bash script in the checkout. `sh images` is one, too, and left to the gate `images`, which
runs `--gate images`. What cannot run everywhere says why on its fence: `text needs a registry`. A block with commands
that is fenced in any other way is an error, so that none is taken for one that runs. A command that a gate runs anyway
is left to that gate. Targets named in the text must exist.
"""

import argparse
import concurrent.futures
import itertools
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))

from tools.ci.gates import GATES  # noqa: E402

_FENCE = re.compile(r"(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")
_PROGRAMS = (
    r"apt(-get)?|bash|bazel(isk)?|buildah|cat|cd|cosign|cp|curl|docker|export|git|hadolint|helm|kubectl|make|mkdir|"
    r"nerdctl|npm|oras|pip3?|podman|printf|python3?(\.\d+)?|rm|sh|skopeo|sudo|tar|timeout|torchrun|umoci|uv|wget"
)
# A prompt or settings of variables may stand before a program; what stands in the checkout is named with a slash.
_COMMAND = re.compile(
    rf"\s*(?:[$#%>] +)?(?:\w+=\S* +)*(?:(?:{_PROGRAMS})(?:\s+\S|$)|\./\S|(?:tools|\.ci|examples)/\S)"
)
_TIMEOUT_SECONDS = 1200
# Most commands wait for one process; more than two trainings beside each other would share two cores.
_AT_A_TIME = 2
_WRITING = threading.Lock()


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        line: of its fence, counted from 1.
        language: the first word behind the fence, or nothing.
        rest: the other words.
    """

    line: int
    language: str
    rest: str
    text: str

    def commands(self) -> list[str]:
        """Lines, joined where one ends in a backslash, less comments."""
        joined = self.text.replace("\\\n", " ")
        lines = (line.strip() for line in joined.splitlines())
        return [line for line in lines if line and not line.startswith("#")]

    def has_commands(self) -> bool:
        """Whether a reader would take it for something to type."""
        return self.language == "sh" or any(map(_COMMAND.match, self.text.splitlines()))


def documents(root: pathlib.Path) -> list[pathlib.Path]:
    """The documents whose commands are run, in the order in which a newcomer reads them."""
    first = ("README.md", "CONTRIBUTING.md", "AGENTS.md", "SECURITY.md", "CHANGELOG.md")
    named = [root / name for name in (*first, "benchmarks/README.md")]
    found = (sorted(root.glob(pattern)) for pattern in ("docs/**/*.md", "examples/**/README.md"))
    return [*named, *itertools.chain(*found)]


def _name(path: pathlib.Path) -> str:
    """There is more than one README.md."""
    return str(path.relative_to(CHECKOUT) if path.is_relative_to(CHECKOUT) else path.name)


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a document, as CommonMark 0.31 section 4.5 has them, in lists too."""
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        opened = _FENCE.match(lines[number])
        number += 1
        if opened is None:
            continue
        first = number
        close = re.compile(rf" *{opened['fence'][0]}{{{len(opened['fence'])},}} *$")
        while number < len(lines) and not close.match(lines[number]):
            number += 1
        indent = re.compile(f" {{0,{len(opened['indent'])}}}")
        body = "".join(f"{indent.sub('', line, count=1)}\n" for line in lines[first:number])
        language, _, rest = opened["info"].strip().partition(" ")
        yield Block(first, language, rest.strip(), body)
        number += 1


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


def script(block: Block, gate: str) -> str:
    """What a gate runs of a block: a Bash script, or nothing."""
    if block.language != "sh" or block.rest != gate:
        return ""
    joined = block.text.replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if not line.strip() or not run_by_a_gate(line)]
    typed = any(line.strip() and not line.startswith("#") for line in lines)
    return "\n".join(lines) if typed else ""


def scripts(text: str, gate: str = "") -> list[str]:
    """A Bash script for each block of a document that has something left to run."""
    return [found for block in blocks(text) if (found := script(block, gate))]


def problem(block: Block) -> str:
    """What is wrong with the fence of a block, or nothing."""
    gates = ["", *(gate.name for gate in GATES)]
    if block.language == "sh":
        return "" if block.rest in gates else f"no gate is called {block.rest!r}"
    if not block.has_commands() or (block.language == "text" and block.rest):
        return ""
    return "has commands: fence it as `sh`, or as `text` with the reason why it cannot run"


def left_out(path: pathlib.Path, gate: str) -> list[str]:
    """A line for each block of a document that has commands and is not run here, with the reason."""
    found = []
    for block in blocks(path.read_text()):
        if block.has_commands() and (block.language, block.rest) != ("sh", gate):
            why = (
                f"the gate {block.rest or 'documents'} runs it"
                if block.language == "sh"
                else block.rest
            )
            found.append(f"{_name(path)}:{block.line}: {block.commands()[0]} ({why})")
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


@dataclass(frozen=True)
class _Outcome:
    """What became of a document: how many of its blocks ran, and where and how one failed, or nothing."""

    ran: int
    failure: str = ""


def _run_document(
    path: pathlib.Path, cwd: pathlib.Path, gate: str, stop: threading.Event
) -> _Outcome:
    """Runs a document's blocks in order, until one fails here or in another document.

    What they say is written in one piece when they have ended, as other documents run meanwhile.
    """
    ran, failure = 0, ""
    with tempfile.TemporaryFile("a+b") as said:
        for block in blocks(path.read_text()):
            text = script(block, gate)
            if not text or stop.is_set():
                continue
            where = f"{_name(path)}:{block.line}"
            print(f"running {where}", file=sys.stderr, flush=True)
            said.write(f"{where}:\n{text}\n".encode())
            said.flush()
            command = ["bash", "-euo", "pipefail", "-c", text]
            try:
                code = subprocess.run(
                    command,
                    cwd=cwd,
                    stdout=said,
                    stderr=said,
                    timeout=_TIMEOUT_SECONDS,
                    check=False,
                ).returncode
                end = f"exit code {code}" if code else ""
            except subprocess.TimeoutExpired:
                end = f"no end after {_TIMEOUT_SECONDS // 60} minutes"
            if end:
                failure = f"{path}:{block.line}: {end} from:\n{text}"
                stop.set()
                break
            ran += 1
        said.seek(0)
        with _WRITING:
            sys.stderr.write(said.read().decode(errors="replace"))
            sys.stderr.flush()
    return _Outcome(ran, failure)


def run(paths: Sequence[pathlib.Path], cwd: pathlib.Path, gate: str = "") -> int:
    """Runs the blocks of these documents; 1 if one fails, and at once if one is fenced wrongly.

    Documents run beside one another, a document's own blocks in order: a newcomer may begin at any of them.
    """
    wrong = [
        f"{path}:{block.line}: {found}"
        for path in paths
        for block in blocks(path.read_text())
        if (found := problem(block))
    ]
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 1
    stop = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(_AT_A_TIME) as pool:
        outcomes = list(pool.map(lambda path: _run_document(path, cwd, gate, stop), paths))
    failures = [outcome.failure for outcome in outcomes if outcome.failure]
    if failures:
        print("\n".join(failures), file=sys.stderr)
        return 1
    ran = sum(outcome.ran for outcome in outcomes)
    rest = [line for path in paths for line in left_out(path, gate)]
    for line in rest:
        print(f"not run: {line}", file=sys.stderr)
    print(
        f"{ran} blocks of {len(paths)} documents ran, {len(rest)} with commands did not",
        file=sys.stderr,
    )
    return 0 if ran else 1


def main(arguments: Sequence[str]) -> int:
    """Returns 0 if every command ran and every target exists."""
    parser = argparse.ArgumentParser(prog="tools/ci/documents.py", description=__doc__)
    parser.add_argument("--gate", default="", help="run the blocks that are fenced for this gate")
    options = parser.parse_args(arguments)
    paths = documents(CHECKOUT)
    names = [label for path in paths for label in labels(path.read_text())]
    return query(names, CHECKOUT) or run(paths, CHECKOUT, options.gate)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
