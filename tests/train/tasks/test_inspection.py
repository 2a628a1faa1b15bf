"""What a person sees of a micro-batch: texts decoded, and the documents that they are of."""

from pathlib import Path

import numpy as np

from retort.core.digest import JSON
from retort.data.batches.readers import BlockReader, ClassificationReader, Shards
from retort.data.store.shards import ShardSizes
from retort.data.store.store import TokenStore
from retort.data.tokenizers.collator import Collator
from retort.data.tokenizers.library import load_tokenizer
from retort.train.tasks.inspection import inspect_blocks, inspect_texts
from tests.tiny.store import byte_level_tokenizer, documents, write_tiny_store

SMALL = ShardSizes(least=1000, spread=1000, most=4000)


def test_texts_are_shown_with_what_identifies_them(tmp_path: Path) -> None:
    write_tiny_store(tmp_path / "tokens", documents(60), sizes=SMALL)
    store = TokenStore.open(tmp_path / "tokens")
    part = store.part("train")
    collator = Collator(store.facts.special, 64)
    batch = ClassificationReader(part, collator, 0, Shards(4)).batch(2, 0)
    seen = inspect_texts(batch, store, part, load_tokenizer(store.tokenizer))
    for name in ("ids", "mask", "labels", "documents"):
        assert np.array_equal(seen.arrays[name], getattr(batch, name))
    by_digest = {document.digest[:32]: document for document in documents(60)}
    assert [record["document"] for record in seen.records] == batch.documents.tolist()
    for record in seen.records:
        document = by_digest[str(record["digest"])]
        assert record["label"] == document.label
        read = str(record["text"]).replace(" ##", "").replace(" ", "")
        assert read == document.text.replace(" ", "")


def test_blocks_are_shown_with_the_documents_that_they_are_of(tmp_path: Path) -> None:
    given = documents(60)
    tokenizer = byte_level_tokenizer([document.text for document in given])
    write_tiny_store(tmp_path / "tokens", given, tokenizer=tokenizer, sizes=SMALL)
    store = TokenStore.open(tmp_path / "tokens")
    part = store.part("train")
    assert len(part.shards) > 2
    reader = BlockReader(part, store.facts.special, 8, 0, Shards(4))
    batch = reader.blocks(np.arange(reader.length))
    seen = inspect_blocks(batch, part, load_tokenizer(store.tokenizer))
    assert [record["block"] for record in seen.records] == list(range(reader.length))

    def named(numbers: list[int]) -> JSON:
        return [{"document": number, "digest": part.digest(number)} for number in numbers]

    owners = [number for number in range(len(part)) for _ in range(part.lengths[number] + 1)]
    for block, record in enumerate(seen.records):
        span = owners[max(block * 8 - 1, 0) : block * 8 + int(batch.targets[block])]
        assert record["documents"] == named(sorted(set(span)))
    texts_of = {document.digest[:32]: document.text for document in given}
    longest = max(range(len(part)), key=lambda number: int(part.lengths[number]))
    of_longest = [one["text"] for one in seen.records if one["documents"] == named([longest])]
    assert of_longest
    assert all(str(text) in texts_of[part.digest(longest)] for text in of_longest)
    assert str(seen.records[0]["text"]).startswith("<|endoftext|>")
    assert np.array_equal(seen.arrays["ids"], batch.ids)
    assert np.array_equal(seen.arrays["targets"], batch.targets)
