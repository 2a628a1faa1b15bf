"""Snippets of movie reviews, each with the mean of what some twenty people thought of its sentiment.

C. J. Hutto and E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social
Media Text", ICWSM 2014, whose authors ask to be cited; the snippets are those of B. Pang and L. Lee
(ACL 2004 and 2005). They come in the source archive of vaderSentiment 3.3.2, under the MIT licence.
"""

import html
from collections.abc import Iterator
from dataclasses import replace

from retort.core.errors import DataError
from retort.core.packages import package_directory
from retort.data.config import FilesConfig
from retort.data.files.addresses import File, find_files
from retort.data.files.decoding import Decoder
from retort.data.sources.records import WHOLE, Record
from retort.data.sources.text_files import read_text

_PACKAGE = "hutto_icwsm_2014"
_FILE = "movieReviewSnippets_GroundTruth.txt"
_ARCHIVES = "third_party/source_archives"


def reviews_files() -> list[File]:
    """The one file of the source.

    Raises:
        DataError: it is not there.
    """
    directory = package_directory(_PACKAGE)
    if directory is None:
        raise DataError(
            f"data.source reviews needs the package {_PACKAGE}, which Bazel brings along; without "
            f"Bazel: python {_ARCHIVES}/source_archive.py --pin {_ARCHIVES}/vader_sentiment.json "
            "--out DIRECTORY, with DIRECTORY on PYTHONPATH"
        )
    return find_files([str(directory / _FILE)], {})


def read_reviews(file: File, decoder: Decoder) -> Iterator[Record]:
    """Its snippets, `positive` or `negative` by the sign of their rating, a mean from -4 to 4.

    A rating of exactly 0 is neither, so its snippet is left out: 37 of 10,605. The file escapes
    `&` as HTML does, and nothing else; that is undone.

    Raises:
        DataError: a line is not number, rating and snippet between tabs.
    """
    for line in read_text(file, FilesConfig(paths=(file.address,)), decoder, WHOLE):
        rating, snippet = _parse(line)
        if rating:
            label = "positive" if rating > 0 else "negative"
            yield replace(line, text=html.unescape(snippet), label=label)


def _parse(line: Record) -> tuple[float, str]:
    try:
        _, written, snippet = line.text.split("\t")
        rating = float(written)
    except ValueError:
        rating = float("nan")
    if not -4 <= rating <= 4:
        raise DataError(
            f"{line.where} is not a number, a rating from -4 to 4 and a snippet between tabs: "
            "the file is not that of the source archive; fetch it anew"
        )
    return rating, snippet
