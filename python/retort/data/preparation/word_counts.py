"""How often each word occurs in a stream of texts: exact, in any order, in bounded memory.

What is counted is cut at ASCII white space first, so that a tokenizer's own rules, which are slow,
see each chunk once for many occurrences. Counts that outgrow memory go sorted to a temporary file,
and are added up by merging the files, as in any external sort.
"""

import heapq
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import groupby
from operator import itemgetter
from typing import IO

from retort.core.errors import StorageError

_CHUNK = re.compile(r"[ \t\n\r]{0,1000}[^ \t\n\r]{1,1000}|[ \t\n\r]{1,1000}")
"""White space with what follows it. A run of thousands of letters is cut: no word is that long,
and training would take time in the square of it."""
_SEGMENT = 1 << 20
"""Characters of a text that are cut at a time."""
_CHUNKS = 1 << 18
"""Distinct chunks after which their words are counted."""
_CHUNK_CHARACTERS = 1 << 24
"""Characters after which they are as well."""
_WORDS = 1 << 19
"""Distinct words that are held in memory."""


def count_words(
    texts: Iterable[str],
    words_of: Callable[[str], Iterable[str]],
    symbols: int,
    held: int = _WORDS,
) -> dict[str, int]:
    """The most frequent words and their counts, the same for any order of the texts.

    Args:
        words_of: the words of a chunk of text; none of them holds white space.
        symbols: the most characters that all distinct words together have. The rarest are left
            out beyond it; of equally rare ones, those first in the order of code points.
        held: distinct words after which counts go to a temporary file.
    Returns:
        Words in the order of their code points.
    Raises:
        StorageError: the temporary file cannot be written.
    """
    words: Counter[str] = Counter()
    with ExitStack() as files:
        runs: list[IO[str]] = []
        for chunks in _chunk_counts(texts):
            for chunk, count in chunks.items():
                for word in words_of(chunk):
                    words[word] += count
                if len(words) >= held:
                    runs.append(_spill(words, files))
                    words.clear()
        counts = heapq.merge(*map(_read, runs), sorted(words.items()))
        return _most_frequent(_add_up(counts) if runs else counts, symbols)


def _chunk_counts(texts: Iterable[str]) -> Iterator[Counter[str]]:
    """Counts of chunks of all texts, in parts that are small enough."""
    chunks: Counter[str] = Counter()
    seen = 0
    for text in texts:
        for start in range(0, len(text), _SEGMENT):
            chunks.update(_CHUNK.findall(text, start, start + _SEGMENT))
            seen += min(len(text) - start, _SEGMENT)
            if len(chunks) >= _CHUNKS or seen >= _CHUNK_CHARACTERS:
                yield chunks
                chunks = Counter()
                seen = 0
    yield chunks


def _spill(words: Counter[str], files: ExitStack) -> IO[str]:
    try:
        file = tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n")  # noqa: SIM115
        files.enter_context(file)
        file.writelines(f"{word} {count}\n" for word, count in sorted(words.items()))
        file.seek(0)
    except OSError as error:
        raise StorageError(
            f"{tempfile.gettempdir()}: cannot hold the words of the documents while they are "
            f"counted: {error.strerror}; make room there, or set TMPDIR"
        ) from error
    return file


def _read(run: IO[str]) -> Iterator[tuple[str, int]]:
    for line in run:
        word, _, count = line.rpartition(" ")
        yield word, int(count)


def _add_up(counts: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    for word, same in groupby(counts, itemgetter(0)):
        yield word, sum(count for _, count in same)


def _most_frequent(counts: Iterable[tuple[str, int]], symbols: int) -> dict[str, int]:
    """Those that fit, of words that come in order."""
    kept: list[tuple[int, str]] = []
    left_out = (0, "")
    total = 0
    for word, count in counts:
        if (count, word) < left_out:
            continue
        heapq.heappush(kept, (count, word))
        total += len(word)
        while total > symbols:
            left_out = heapq.heappop(kept)
            total -= len(left_out[1])
    return dict(sorted((word, count) for count, word in kept))
