"""The token store reads back what was written, and refuses what was not."""

import hashlib
import json
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken

from retort.core.errors import DataError, SealError
from retort.core.seal import sealing
from retort.data.sources.documents import Document
from retort.data.store.shards import ShardSizes
from retort.data.store.store import TokenStore
from retort.data.tokenizers.library import load_tokenizer
from tests.tiny.store import bert_tokenizer, byte_level_tokenizer, documents, write_tiny_store

SIZES = ShardSizes(least=500, spread=1000, most=4000)


def write(target: Path, given: list[Document], tokenizer: bytes | None = None) -> TokenStore:
    write_tiny_store(target, given, tokenizer=tokenizer, sizes=SIZES)
    return TokenStore.open(target)


def test_a_store_reads_back_every_document_in_its_order(tmp_path: Path) -> None:
    given = documents(500)
    store = write(tmp_path / "store", [*given[:3], Document(" ", "tech", "train"), *given[3:]])
    tokenizer = load_tokenizer(store.tokenizer)
    assert set(store.parts) == {"train", "held_out"}
    for name, part in store.parts.items():
        expected = [document for document in given if document.part == name]
        assert len(part) == len(expected)
        assert len(part.shards) > 1
        for number, document in enumerate(expected):
            ids = tokenizer.encode(document.text, add_special_tokens=False).ids
            assert part.document(number).tolist() == ids
            assert part.lengths[number] == len(ids)
            assert store.labels[part.labels[number]] == document.label
            assert part.digest(number) == hashlib.sha256(document.text.encode()).hexdigest()[:32]
        assert part.tokens == part.lengths.sum()
        with pytest.raises(IndexError, match=f"document {len(part)} of"):
            part.document(len(part))
    special = store.facts.special
    assert (special.prefix, special.suffix) == ((2,), (3,))
    assert (special.padding, special.boundary) == (0, 3)
    tokenizer_digest = hashlib.sha256(store.tokenizer).hexdigest()
    assert store.sealed.manifest.inputs["tokenizer"] == f"sha256:{tokenizer_digest}"
    assert str(tmp_path) not in store.sealed.manifest.to_bytes().decode()
    with pytest.raises(DataError, match="has no part 'test'; it has"):
        store.part("test")


def test_documents_cannot_be_changed_through_the_store(tmp_path: Path) -> None:
    ids = write(tmp_path / "store", documents(40)).part("train").document(0)
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 0


def test_a_vocabulary_over_65536_takes_four_bytes_a_token(tmp_path: Path) -> None:
    tokenizer = bert_tokenizer(added=[AddedToken(f"<{number}>") for number in range(70_000)])
    given = [Document("the <69999> match", "tech", "train"), *documents(40)]
    store = write(tmp_path / "store", given, tokenizer)
    ids = store.part("train").document(0)
    assert ids.dtype == np.dtype("<u4")
    expected = load_tokenizer(tokenizer).encode(given[0].text, add_special_tokens=False).ids
    assert ids.tolist() == expected


def test_a_store_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store"
    store = write(path, documents(40))
    assert TokenStore.open(path, store.tokenizer).sealed == store.sealed
    other = byte_level_tokenizer(["other"])
    with pytest.raises(DataError, match="was made with another tokenizer than the model's"):
        TokenStore.open(path, other)
    inputs = dict(store.sealed.manifest.inputs)
    cases = [
        (inputs, "is not the tokenizer that this store was made with"),
        (
            {**inputs, "tokenizer": f"sha256:{hashlib.sha256(other).hexdigest()}"},
            "does not fit the store",
        ),
    ]
    for given, message in cases:
        with sealing(tmp_path / "forged", kind="token-store", inputs=given, config={}) as directory:
            shutil.copytree(path, directory, dirs_exist_ok=True)
            (directory / "manifest.json").unlink()
            (directory / "tokenizer.json").write_bytes(other)
        with pytest.raises(SealError, match=rf"forged/tokenizer\.json: {message}"):
            TokenStore.open(tmp_path / "forged")


def test_a_truncated_altered_or_missing_shard_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "store"
    write(path, documents(100))
    shard = max((path / "shards").iterdir())
    content = shard.read_bytes()
    for changed, message in [
        (content[:-1], "is truncated"),
        (content[:-1] + bytes([content[-1] ^ 1]), "is altered"),
        (None, "is missing"),
    ]:
        shard.unlink()
        if changed is not None:
            shard.write_bytes(changed)
        with pytest.raises(SealError, match=f"{shard.name}: {message}"):
            TokenStore.open(path)
        shard.write_bytes(content)
    assert TokenStore.open(path).parts


def test_a_sealed_directory_that_is_no_store_of_ours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store"
    store = write(path, documents(100))
    facts = json.loads((path / "store.json").read_bytes())
    shard = facts["parts"]["train"][0]
    file = f"shards/{shard['sha256']}.tokens"
    content = (path / file).read_bytes()
    cases = [
        ("store.json", b"[]", "is not the facts of a token store"),
        ("store.json", json.dumps({**facts, "format": 9}).encode(), "format 9; this program reads"),
        ("store.json", json.dumps({**facts, "labels": []}).encode(), "has a label number"),
        ("store.json", json.dumps(facts).replace('"uint16"', '"uint32"').encode(), "does not fit"),
        (file, b"RTKSHARX" + content[8:], "is not a shard of a token store: its header"),
        (file, content[:40], "is not a shard of a token store"),
        (file, content + b"\0\0", "its parts do not add up to its size"),
        (file, content[:72] + b"\0" * 8 + content[80:], "its offsets do not rise"),
        (file, content[:32] + bytes(32) + content[64:], "is not the shard that store.json"),
    ]
    for name, changed, message in cases:
        with sealing(
            tmp_path / "forged",
            kind="token-store",
            inputs=store.sealed.manifest.inputs,
            config={},
        ) as directory:
            shutil.copytree(path, directory, dirs_exist_ok=True)
            (directory / "manifest.json").unlink()
            (directory / name).write_bytes(changed)
        with pytest.raises(SealError, match=message):
            TokenStore.open(tmp_path / "forged")
    with sealing(tmp_path / "other", kind="dataset", inputs={}, config={}) as directory:
        (directory / "x").write_bytes(b"")
    with pytest.raises(SealError, match="is a sealed dataset, and a token-store is needed"):
        TokenStore.open(tmp_path / "other")


def test_a_store_may_have_more_shards_than_files_may_be_open(tmp_path: Path) -> None:
    given = documents(600)
    count = sum(document.part == "train" for document in given)
    write_tiny_store(tmp_path / "store", given, sizes=ShardSizes(least=1, spread=1, most=1))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(200, hard), hard))
    try:
        part = TokenStore.open(tmp_path / "store").part("train")
        assert len(part.shards) == count > 500
        assert part.lengths.min() > 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
