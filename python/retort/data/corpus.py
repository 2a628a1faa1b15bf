"""A corpus in two passes over its source: the first learns what is in it, the second gives it.

Between the passes 29 bytes for each document are remembered, and the signatures of a bounded
number; no text is. So a corpus may be far larger than memory.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from retort.core.errors import DataError
from retort.data.config import CorpusConfig
from retort.data.documents import Document, Part
from retort.data.encoding import Decoder
from retort.data.ledger import KEY, NEAR, PARTS, Ledger, check_leakage, settle
from retort.data.near_duplicates import NearDuplicates, Sample, find_near_duplicates
from retort.data.sources import count_files, stream_documents
from retort.data.validation import Encodings, Schema, Validation, validate


@dataclass(frozen=True)
class Corpus:
    """A source that has been read once.

    Attributes:
        labels: of its documents, sorted; none for a language model's corpus.
        digest: "sha256:" and that of all documents, labels and parts in the source's order, for
            the seal of what is made of them.
    """

    config: CorpusConfig
    labels: tuple[str, ...]
    digest: str
    validation: Validation
    _ledger: Ledger = field(repr=False)
    _verdicts: NDArray[np.uint8] = field(repr=False)

    def documents(self) -> Iterator[Document]:
        """The documents that stay, each with its part, in the order of the source.

        Raises:
            DataError: the source is not as it was when it was first read.
        """
        changed = DataError("the source has changed since it was first read; start again")
        number = -1
        for number, document in enumerate(stream_documents(self.config)):
            if number >= len(self._ledger):
                raise changed
            digest = hashlib.sha256(document.text.encode("utf-8")).digest()
            if digest[:KEY] != self._ledger.key(number):
                raise changed
            part = PARTS.get(int(self._verdicts[number]))
            if part is not None:
                yield replace(document, part=part)
        if number + 1 != len(self._ledger):
            raise changed


def survey(config: CorpusConfig) -> Corpus:
    """Read a source once: count, validate, find copies, and decide what stays and where.

    Raises:
        DataError: the source cannot be read, its documents cannot be learned from, or
            near-duplicates cross the split and the recipe calls that an error.
        HubUnavailable: the source is on the hub, which cannot be reached.
    """
    decoder = Decoder(config.not_utf8)
    ledger = Ledger()
    sample = None if config.near_duplicates.action == "ignore" else Sample(config.near_duplicates)
    everything = hashlib.sha256()
    for number, document in enumerate(stream_documents(config, decoder)):
        digest = hashlib.sha256(document.text.encode("utf-8")).digest()
        words = len(document.text.split())
        ledger.add(document, digest, words)
        note = f"{'' if document.label is None else document.label}\0{document.part or ''}\0"
        everything.update(digest + note.encode("utf-8"))
        if sample is not None and words:
            sample.add(number, digest, document.part, document.text)
    settled = settle(ledger, config.held_out)
    verdicts, near = settled.verdicts, None
    if sample is not None:
        near = _treat_near_duplicates(config, sample, verdicts)
    check_leakage(ledger, verdicts)
    files = config.files
    schema = Schema(
        source=config.source,
        files=count_files(config),
        text=files.text if files and config.source not in ("directory", "text") else None,
        label=files.label if files else None,
    )
    encodings = Encodings(config.not_utf8, decoder.not_utf8, decoder.dropped, tuple(decoder.places))
    validation = validate(
        schema, ledger, verdicts, crossing=settled.crossing, encodings=encodings, near=near
    )
    return Corpus(
        config=config,
        labels=tuple(one.label for one in validation.labels),
        digest=f"sha256:{everything.hexdigest()}",
        validation=validation,
        _ledger=ledger,
        _verdicts=verdicts,
    )


def _treat_near_duplicates(
    config: CorpusConfig, sample: Sample, verdicts: NDArray[np.uint8]
) -> NearDuplicates:
    """Find near-duplicates, and do with those across the split what the recipe says."""

    def part_of(number: int) -> Part | None:
        return PARTS.get(int(verdicts[number]))

    near, leaking = find_near_duplicates(sample, part_of, config.near_duplicates)
    if not leaking or config.near_duplicates.action == "report":
        return near
    if config.near_duplicates.action == "error":
        pair = near.examples[0]
        raise DataError(
            f"{len(leaking)} documents to learn from are nearly the same as one held out, such as "
            f"documents {pair.first} and {pair.second} of the source: {pair.first_text!r}; "
            "see data.near_duplicates.action"
        )
    verdicts[sorted(leaking)] = NEAR
    return replace(near, removed=len(leaking))
