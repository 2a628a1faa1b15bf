"""What any process does with a piece of a source: read, hash, tokenise. No state, no disk.

A job and a piece decide the chunks alone, so a piece whose process was lost is just read again.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retort.data.config import CorpusConfig
from retort.data.reading.chunks import Chunk, columns_of
from retort.data.similar.minhash import signatures
from retort.data.similar.near_duplicates import excerpt
from retort.data.sources.documents import Document
from retort.data.sources.pieces import Piece
from retort.data.sources.read import decoder_of, documents_of
from retort.data.store.keys import digests_of, positions, token_prints
from retort.data.tokenizers.choose import Encoder, EncoderRecipe
from retort.data.tokenizers.spellings import Spellings

_CHUNK_CHARACTERS = 2 << 20
_OF_ANY_DOCUMENT = 64
"""Counted as characters, or the chunks of many short ones would be large."""


@dataclass(frozen=True)
class ReadingJob:
    """What holds for every piece.

    Attributes:
        encoder: what tokenises; None: texts are only looked at.
        boundary: token number of the slot behind each document.
        known: S16 [texts], sorted: first half of the SHA-256 of texts whose tokens are at hand.
    """

    config: CorpusConfig
    encoder: EncoderRecipe | None = None
    boundary: int = 0
    known: NDArray[np.bytes_] = field(default_factory=lambda: np.zeros(0, "S16"), repr=False)


def read_piece(job: ReadingJob, piece: Piece) -> Iterator[Chunk]:
    """The chunks of a piece, in order; at least one.

    Raises:
        DataError: the piece cannot be read, or a label is not allowed; file and row are named.
        HubUnavailable: the source is on the hub, which cannot be reached.
    """
    spellings = None if job.encoder is None else _spellings(job.encoder)
    decoder = decoder_of(job.config, spellings)
    number, done = 0, 0.0
    batch: list[Document] = []
    characters = 0
    for document in documents_of(job.config, piece, decoder):
        batch.append(document)
        characters += len(document.text) + _OF_ANY_DOCUMENT
        if characters >= _CHUNK_CHARACTERS:
            share = min(piece.share * characters / max(piece.size, characters), piece.share - done)
            yield replace(_chunk(job, piece, batch), number=number, share=share)
            number, done = number + 1, done + share
            batch, characters = [], 0
    yield replace(
        _chunk(job, piece, batch),
        number=number,
        share=piece.share - done,
        tally=decoder.tally,
    )


def _chunk(job: ReadingJob, piece: Piece, documents: list[Document]) -> Chunk:
    columns = columns_of(documents)
    fresh = ~columns.empty
    slots: NDArray[Any] = np.zeros(0, "<u2")
    lengths = np.zeros(0, np.int64)
    if job.encoder is None:
        fresh[:] = False
    else:
        fresh &= ~_among(columns.keys, job.known)
        texts = [documents[place].text for place in np.flatnonzero(fresh).tolist()]
        encoded = _encoder(job.encoder).encode(texts)
        lengths, slots = encoded.lengths, encoded.with_boundaries(job.boundary)
    sampled = _sampled(job.config, piece, columns.keys, columns.empty)
    candidates = [documents[place].text for place in sampled.tolist()]
    return Chunk(
        piece=piece.number,
        columns=columns,
        fresh=fresh,
        lengths=lengths,
        slots=slots,
        sampled=sampled,
        excerpts=tuple(map(excerpt, candidates)),
        signatures=signatures(candidates, job.config.near_duplicates),
        prints=token_prints(slots, lengths),
    )


def _among(keys: NDArray[np.uint8], known: NDArray[np.bytes_]) -> NDArray[np.bool_]:
    """Which keys begin with one of the known digests."""
    if len(known) == 0:
        return np.zeros(len(keys), np.bool_)
    digests = digests_of(keys)
    places = np.searchsorted(known, digests)
    found: NDArray[np.bool_] = known[np.minimum(places, len(known) - 1)] == digests
    return found


def _sampled(
    config: CorpusConfig, piece: Piece, keys: NDArray[np.uint8], empty: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Documents that may enter the sample for near-duplicates."""
    if config.near_duplicates.action == "ignore":
        return np.zeros(0, np.int64)
    return np.flatnonzero(~empty & (positions(keys) < piece.sampled_below))


@lru_cache(maxsize=1)
def _encoder(recipe: EncoderRecipe) -> Encoder:
    return recipe.make()


@lru_cache(maxsize=1)
def _spellings(recipe: EncoderRecipe) -> Spellings:
    return recipe.spellings()
