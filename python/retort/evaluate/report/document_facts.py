"""What a report says of the documents that a model learned from."""

import json
from dataclasses import dataclass

from retort.core.errors import SealError
from retort.core.report import code
from retort.core.seal import Sealed
from retort.data.store.store import REPORT, VALIDATION


@dataclass(frozen=True)
class DocumentFacts:
    """How many documents the source gave, and how many of them were not as one would wish."""

    documents: int
    duplicates: int
    ambiguous: int
    empty: int
    near_removed: int
    not_utf8: int


@dataclass(frozen=True)
class TokenFacts:
    """How much of the documents the model saw.

    Attributes:
        truncated: number of documents that were longer than `max_tokens`.
        dropped: number of tokens that were cut off them.
    """

    max_tokens: int
    truncated: int
    dropped: int


def document_facts(store: Sealed) -> DocumentFacts | None:
    """What a token store knows of its documents; None if it was not prepared from a source.

    Raises:
        SealError: its file of figures is another program's.
    """
    if all(file.path != VALIDATION for file in store.manifest.files):
        return None
    try:
        value = json.loads(store.read(VALIDATION))
        return DocumentFacts(
            documents=value["documents"],
            duplicates=value["duplicates"],
            ambiguous=value["ambiguous"],
            empty=value["empty"],
            near_removed=value["near_removed"],
            not_utf8=value["encodings"]["not_utf8"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SealError(
            f"{store.path / VALIDATION}: is not the figures of a corpus: {error!r}"
        ) from error


def source_rows(data: DocumentFacts) -> dict[str, str]:
    """As rows of a table of facts."""
    return {
        "read from the source": f"{data.documents:,}",
        "not UTF-8": f"{data.not_utf8:,}",
        "empty, removed": f"{data.empty:,}",
        "exact duplicates, removed": f"{data.duplicates:,}",
        "same text with different labels, removed": f"{data.ambiguous:,}",
        "nearly the same as one held out, removed": f"{data.near_removed:,}",
        "more about them": code(REPORT) + " in the token store",
    }
