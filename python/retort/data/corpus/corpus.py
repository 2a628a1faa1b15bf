"""A corpus: its source read once by any number of processes, and what was decided of each document.

While the source is read, about 50 bytes of each document are remembered, and the signatures of a
bounded number; no text is. So a corpus may be far larger than memory.
"""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from retort.core.digest import canonical_json
from retort.core.errors import DataError
from retort.data.config import CorpusConfig
from retort.data.corpus.validation import (
    BadPlace,
    Encodings,
    Met,
    Rows,
    Schema,
    SpecialTokensInTexts,
    Validation,
    validate,
)
from retort.data.corpus.verdicts import (
    NEAR,
    PART_OF_VERDICT,
    check_leakage,
    remove_copies_by_tokens,
    settle,
)
from retort.data.files.decoding import NAMED, NOT_UTF8, SPELLED, Place, Tally, check_bad_rows
from retort.data.reading.chunks import PARTS, Chunk, Columns, join
from retort.data.reading.read_piece import ReadingJob
from retort.data.reading.workers import LocalWorkers, Workers
from retort.data.similar.near_duplicates import NearDuplicates, Sample, find_near_duplicates
from retort.data.sources.documents import Document, Part
from retort.data.sources.pieces import Piece, cut
from retort.data.sources.read import no_documents, stream_documents
from retort.data.sources.text_files import rows_before
from retort.data.store.keys import KEY_BYTES, positions


@dataclass(frozen=True)
class Corpus:
    """A source that has been read.

    Attributes:
        labels: of its documents, sorted; none for a language model's corpus.
        digest: "sha256:" and that of all texts, labels and parts in the source's order, for the
            seal of what is made of them.
        columns: of all its documents, in the source's order.
        verdicts: uint8 [documents], as of `retort.data.corpus.verdicts`.
    """

    config: CorpusConfig
    labels: tuple[str, ...]
    digest: str
    validation: Validation
    columns: Columns = field(repr=False)
    verdicts: NDArray[np.uint8] = field(repr=False)

    def documents(self) -> Iterator[Document]:
        """The documents that stay, each with its part, read again in the order of the source.

        Raises:
            DataError: the source is not as it was when it was first read.
        """
        changed = DataError("the source has changed since it was first read; start again")
        number = -1
        for number, document in enumerate(stream_documents(self.config)):
            if number >= len(self.columns):
                raise changed
            digest = hashlib.sha256(document.text.encode("utf-8")).digest()
            if digest[:KEY_BYTES] != self.columns.keys[number].tobytes():
                raise changed
            part = PART_OF_VERDICT.get(int(self.verdicts[number]))
            if part is not None:
                yield replace(document, part=part)
        if number + 1 != len(self.columns):
            raise changed


def survey(config: CorpusConfig, workers: Workers | None = None) -> Corpus:
    """Read a source: count, validate, find copies, decide what stays and where.

    Args:
        workers: who reads; without one, this process.
    Raises:
        DataError: the source cannot be read, its documents cannot be learned from, or
            near-duplicates cross the split and the recipe calls that an error.
        HubUnavailable: the source is on the hub, which cannot be reached.
    """
    reader = CorpusReader(ReadingJob(config))
    for _ in reader.read(workers or LocalWorkers(1)):
        pass
    return reader.settle(reader.columns())


class CorpusReader:
    """Gathers what processes read, in whatever order they are done, and settles it."""

    def __init__(self, job: ReadingJob) -> None:
        self._job = job
        self._config = config = job.config
        self._pieces = cut(config)
        self._chunks: dict[tuple[int, int], Chunk] = {}
        self._dropped = 0
        self._sample = (
            None if config.near_duplicates.action == "ignore" else Sample(config.near_duplicates)
        )

    def read(self, workers: Workers) -> Iterator[Chunk]:
        """Have the source read, and pass on each chunk; it is remembered without its tokens."""
        for chunk in workers.run(self._job, self._stamped()):
            yield chunk
            self._dropped += chunk.tally.bad.total()
            check_bad_rows(
                self._dropped, self._config.bad_rows_limit, f"{self._config.name}: bad rows"
            )
            self._consider(chunk)
            self._chunks[chunk.piece, chunk.number] = chunk.without_texts()

    def columns(self) -> Columns:
        """All documents, in the order of the source, when all is read."""
        return join([self._chunks[key].columns for key in sorted(self._chunks)])

    def settle(
        self,
        columns: Columns,
        tokens: NDArray[np.int64] | None = None,
        prints: NDArray[np.bytes_] | None = None,
    ) -> Corpus:
        """Decide of every document, when all is read.

        Args:
            columns: as `columns()` gives them.
            tokens: int64 [documents], of each document, where they are known.
            prints: S16 [documents], digests of these tokens.
        """
        config = self._config
        chunks = [self._chunks[key] for key in sorted(self._chunks)]
        tally = self._tally(chunks)
        if len(columns) == 0 and not tally.dropped and not tally.bad:
            raise no_documents(config)
        settled = settle(columns, config.held_out, config.fold, tokens)
        verdicts, near = settled.verdicts, None
        if prints is not None:
            remove_copies_by_tokens(prints, verdicts)
        if self._sample is not None:
            numbers = _Numbers(chunks)
            near = _treat_near_duplicates(config, self._sample, numbers, columns.keys, verdicts)
        check_leakage(columns, verdicts, prints)
        schema = Schema(
            source=config.name,
            files=len({(one.system, one.path) for piece in self._pieces for one in piece.files}),
            text=config.text,
            label=config.label,
        )
        validation = validate(
            schema,
            columns,
            verdicts,
            crossing=settled.crossing,
            met=self._met(tally),
            near=near,
            tokens=tokens,
        )
        return Corpus(
            config=config,
            labels=tuple(one.label for one in validation.labels),
            digest=_digest(columns),
            validation=validation,
            columns=columns,
            verdicts=verdicts,
        )

    def _stamped(self) -> Iterator[Piece]:
        """The pieces, as they are asked for, each with what is known by then of the sample."""
        for piece in self._pieces:
            below = 0 if self._sample is None else self._sample.threshold
            yield replace(piece, sampled_below=below)

    def _consider(self, chunk: Chunk) -> None:
        """Offer documents to the sample for near-duplicates."""
        if self._sample is None:
            return
        before = sum(len(self._chunks[chunk.piece, one].columns) for one in range(chunk.number))
        columns = chunk.columns
        for place, excerpt, signature in zip(
            chunk.sampled.tolist(), chunk.excerpts, chunk.signatures, strict=True
        ):
            self._sample.add(
                _Numbers.provisional(chunk.piece, before + place),
                columns.keys[place].tobytes(),
                PARTS[columns.parts[place]],
                excerpt,
                signature,
            )

    def _met(self, tally: Tally) -> Met:
        """What was met while the source was read, as reports say it."""
        recipe = self._job.encoder
        return Met(
            Encodings(
                self._config.not_utf8, tally.not_utf8, tally.dropped, _places(tally, NOT_UTF8)
            ),
            Rows(
                tally.blank,
                dict(sorted(tally.bad.items())),
                tuple(
                    BadPlace(what, place)
                    for what, place in tally.places
                    if what not in (NOT_UTF8, SPELLED)
                )[:NAMED],
                dict(sorted(tally.left_out.items())),
            ),
            (
                None
                if recipe is None
                else SpecialTokensInTexts(
                    recipe.special_in_text,
                    tally.spelling,
                    dict(sorted(tally.spelled.items())),
                    _places(tally, SPELLED),
                )
            ),
        )

    def _tally(self, chunks: Sequence[Chunk]) -> Tally:
        """What was met in all pieces, with the rows of places, which pieces count from their own
        start."""
        total = Tally()
        named: dict[str, list[tuple[Piece, Place]]] = {}
        for piece in self._pieces[:1]:
            total.left_out.update(piece.left_out)
        for chunk in chunks:
            tally, piece = chunk.tally, self._pieces[chunk.piece]
            total.not_utf8 += tally.not_utf8
            total.dropped += tally.dropped
            total.blank += tally.blank
            total.bad.update(tally.bad)
            total.spelled.update(tally.spelled)
            total.spelling += tally.spelling
            total.left_out.update(tally.left_out)
            for what, place in tally.places:
                named.setdefault(what, []).append((piece, place))
        found = [(what, *one) for what in sorted(named) for one in named[what][:NAMED]]
        unknown = sorted(
            {
                (piece.files[0].address, piece.span.start): piece
                for _, piece, _ in found
                if piece.span.rows_before is None
            }.items()
        )
        rows: dict[int, int] = {}
        for _, same in itertools.groupby(unknown, key=lambda one: one[0][0]):
            pieces = [piece for _, piece in same]
            counts = rows_before(pieces[0].files[0], [piece.span.start for piece in pieces])
            rows.update((piece.number, count) for piece, count in zip(pieces, counts, strict=True))
        total.places = [
            (what, replace(place, row=place.row + rows.get(piece.number, 0)))
            for what, piece, place in found
        ]
        return total


def _places(tally: Tally, what: str) -> tuple[Place, ...]:
    return tuple(place for one, place in tally.places if one == what)


class _Numbers:
    """Numbers of documents, counted by piece while it is not known how many each one has."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        """
        Args:
            chunks: all of them, in the order of the source.
        """
        counts = np.zeros(chunks[-1].piece + 2, np.int64)
        for chunk in chunks:
            counts[chunk.piece + 1] += len(chunk.columns)
        self._starts = np.cumsum(counts)

    @staticmethod
    def provisional(piece: int, place: int) -> int:
        """A number that sorts as the final one will."""
        return piece << 40 | place

    def final(self, provisional: int) -> int:
        """The document's place in the source."""
        return int(self._starts[provisional >> 40]) + (provisional & (1 << 40) - 1)


def _digest(columns: Columns) -> str:
    everything = hashlib.sha256(canonical_json(list(columns.names)))
    for column in (columns.keys, columns.labels, columns.parts):
        everything.update(np.ascontiguousarray(column).data)
    return f"sha256:{everything.hexdigest()}"


def _treat_near_duplicates(
    config: CorpusConfig,
    sample: Sample,
    numbers: _Numbers,
    keys: NDArray[np.uint8],
    verdicts: NDArray[np.uint8],
) -> NearDuplicates:
    """Find near-duplicates, and do with those across the split what the recipe says."""

    def part_of(provisional: int) -> Part | None:
        return PART_OF_VERDICT.get(int(verdicts[numbers.final(provisional)]))

    near, leaking = find_near_duplicates(sample, part_of, config.near_duplicates)
    examples = [
        replace(
            pair,
            first=numbers.final(pair.first - 1) + 1,
            second=numbers.final(pair.second - 1) + 1,
        )
        for pair in near.examples
    ]
    stays = np.isin(verdicts, list(PART_OF_VERDICT))
    beyond = int((positions(keys[stays]) >= sample.threshold).sum())
    near = replace(
        near,
        examples=tuple(examples),
        beyond=beyond,
        wordless=int(stays.sum()) - beyond - near.compared,
    )
    if not leaking or config.near_duplicates.action == "report":
        return near
    if config.near_duplicates.action == "error":
        pair = near.examples[0]
        raise DataError(
            f"{len(leaking)} documents to learn from are nearly the same as one held out, such as "
            f"documents {pair.first} and {pair.second} of the source: {pair.first_text!r}; "
            "see data.near_duplicates.action"
        )
    verdicts[sorted(map(numbers.final, leaking))] = NEAR
    return replace(near, removed=len(leaking))
