"""What a process makes of a piece: its documents in chunks, in order, with the tokens of new texts."""

from pathlib import Path

import numpy as np
import pytest

from retort.data.reading.chunks import Chunk, columns_of, join
from retort.data.reading.read_piece import ReadingJob, read_piece
from retort.data.sources.documents import Document
from retort.data.sources.pieces import cut
from retort.data.sources.read import stream_documents
from retort.data.store.keys import digests_of
from retort.data.tokenizers.choose import choose_encoder
from retort.data.tokenizers.library import load_tokenizer
from tests.tiny.store import bert_tokenizer, documents, write_corpus

DEFINITION = bert_tokenizer()
TOKENIZER = load_tokenizer(DEFINITION)
ENCODER = choose_encoder(TOKENIZER, DEFINITION)
BOUNDARY = 3


def slots(given: list[Document]) -> list[int]:
    """The tokens of each text, and a boundary."""
    encoded = [TOKENIZER.encode(one.text, add_special_tokens=False).ids for one in given]
    return [number for ids in encoded for number in [*ids, BOUNDARY]]


@pytest.mark.parametrize("size", [500, 20_000, 1 << 40])
def test_chunks_are_the_documents_of_the_source_with_their_tokens(
    tmp_path: Path, size: int
) -> None:
    config = write_corpus(tmp_path, [*documents(300), Document(" ", "tech", "train")], files=2)
    given = list(stream_documents(config))
    chunks = [
        chunk
        for piece in cut(config, size)
        for chunk in read_piece(ReadingJob(config, ENCODER, BOUNDARY), piece)
    ]
    assert [(chunk.piece, chunk.number) for chunk in chunks] == [
        (number, 0) for number in range(len(chunks))
    ]
    assert sum(chunk.share for chunk in chunks) == pytest.approx(1.0)
    joined, expected = join([chunk.columns for chunk in chunks]), columns_of(given)
    assert np.array_equal(joined.keys, expected.keys)
    assert np.array_equal(joined.parts, expected.parts)
    found = np.concatenate([chunk.slots for chunk in chunks])
    assert found.dtype == np.dtype("<u2")
    assert found.tolist() == slots([one for one in given if one.text.strip()])
    fresh = np.concatenate([chunk.fresh for chunk in chunks])
    assert fresh.tolist() == [bool(one.text.strip()) for one in given]
    lengths = np.concatenate([chunk.lengths for chunk in chunks])
    assert len(lengths) == fresh.sum()
    assert lengths.sum() + len(lengths) == len(found)


def test_what_is_known_is_not_tokenised(tmp_path: Path) -> None:
    config = write_corpus(tmp_path, documents(200))
    given = list(stream_documents(config))
    known = given[::3]
    job = ReadingJob(config, ENCODER, BOUNDARY, np.sort(digests_of(columns_of(known).keys)))
    chunks = [chunk for piece in cut(config) for chunk in read_piece(job, piece)]
    new = [one for one in given if one not in known]
    assert np.concatenate([chunk.slots for chunk in chunks]).tolist() == slots(new)
    assert sum(len(chunk.columns) for chunk in chunks) == 200


def test_without_a_tokenizer_texts_are_only_looked_at(tmp_path: Path) -> None:
    config = write_corpus(tmp_path, documents(50))
    chunks = [chunk for piece in cut(config) for chunk in read_piece(ReadingJob(config), piece)]
    assert sum(len(chunk.columns) for chunk in chunks) == 50
    assert {len(chunk.slots) + int(chunk.fresh.sum()) for chunk in chunks} == {0}


def test_a_long_piece_is_several_chunks_that_say_how_far_it_is(tmp_path: Path) -> None:
    given = documents(50)
    given += [Document(f"{number} " + "wide " * 2000, "tech", "train") for number in range(700)]
    config = write_corpus(tmp_path, given)
    piece, _ = cut(config)
    chunks: list[Chunk] = list(read_piece(ReadingJob(config, ENCODER), piece))
    assert len(chunks) == 4
    assert [chunk.number for chunk in chunks] == [0, 1, 2, 3]
    assert all(chunk.share > 0 for chunk in chunks)
    assert sum(chunk.share for chunk in chunks) == pytest.approx(piece.share)
    assert sum(len(chunk.columns) for chunk in chunks) == sum(one.part == "train" for one in given)
