"""Memory and time of a corpus against its size: both passes over JSONL of 10 MB to 2 GB.

Each corpus is made here and read by a process of its own, whose largest resident memory the
kernel tells. Prints a table in Markdown, and fails where memory is over the limit.

    python benchmarks/data_memory.py --sizes 10 100 1000 2000 --limit 600
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_CHILD = """
import json, resource, sys, time
from retort.data.config import CorpusConfig
from retort.data.corpus import survey
config = CorpusConfig.model_validate(json.loads(sys.argv[1]))
start = time.monotonic()
corpus = survey(config)
middle = time.monotonic()
emitted = sum(1 for _ in corpus.documents())
end = time.monotonic()
facts = corpus.validation
print(json.dumps({
    "documents": facts.documents, "emitted": emitted, "duplicates": facts.duplicates,
    "first_pass": middle - start, "second_pass": end - middle,
    "resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}))
"""


@dataclass(frozen=True)
class Measured:
    """One run. Bytes and seconds; `resident` is the most memory that the process had."""

    size: int
    documents: int
    emitted: int
    duplicates: int
    first_pass: float
    second_pass: float
    resident: int


def write_corpus(file: Path, size: int) -> int:
    """Write JSONL of at least `size` bytes: documents of about 2 KB, one in fifty a copy.

    Returns:
        The size, in bytes.
    """
    dice = random.Random(0)
    words = ["".join(dice.choices("etaoinshrdlu", k=dice.randint(2, 9))) for _ in range(20_000)]
    sentences = [" ".join(dice.choices(words, k=16)) + "." for _ in range(20_000)]
    written = number = 0
    line = ""
    with file.open("w", encoding="utf-8") as stream:
        while written < size:
            if number % 50 != 49:
                text = f"{number} {' '.join(dice.choices(sentences, k=20))}"
                line = json.dumps({"text": text, "label": f"topic {number % 7}"}) + "\n"
            written += stream.write(line)
            number += 1
    return written


def measure(file: Path, compared: int) -> Measured:
    """Read a corpus twice in a process of its own.

    Args:
        compared: near-duplicates are looked for among so many documents.
    """
    config = {
        "source": "jsonl",
        "files": {"paths": [str(file)], "label": "label"},
        "near_duplicates": {"documents": compared},
    }
    # `sys.path` and not the environment: under Bazel it is what this process was given.
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys\nsys.path[:] = {sys.path!r}\n{_CHILD}",
            json.dumps(config),
        ],
        stdout=subprocess.PIPE,
        check=True,
    )
    return Measured(size=file.stat().st_size, **json.loads(done.stdout))


def main() -> int:
    """Measure each size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000, 2000], help="MB")
    parser.add_argument("--limit", type=int, default=600, help="MB of resident memory")
    parser.add_argument("--compared", type=int, default=100_000, help="for near-duplicates")
    options = parser.parse_args()
    print("| MB | documents | first pass, s | second pass, s | resident, MB |")
    print("|---:|---:|---:|---:|---:|")
    over = False
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "corpus.jsonl"
            write_corpus(file, size * 10**6)
            one = measure(file, options.compared)
        over |= one.resident > options.limit * 10**6
        print(
            f"| {one.size / 1e6:,.0f} | {one.documents:,} | {one.first_pass:.1f} | "
            f"{one.second_pass:.1f} | {one.resident / 1e6:.0f} |",
            flush=True,
        )
    if over:
        print(f"over the limit of {options.limit} MB", file=sys.stderr)
    return int(over)


if __name__ == "__main__":
    sys.exit(main())
