"""A stopped run leaves the batch at fault, and is not resumed into the same step."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from retort.core.errors import StorageError, UserError
from retort.data.batches.readers import BlockReader, ClassificationReader, Shards
from retort.data.store.shards import ShardSizes
from retort.data.store.store import TokenStore
from retort.train.observe.step import Step
from retort.train.recipe import DivergenceConfig
from retort.train.run.divergence import DivergenceGuard, Fault, TrainingStopped
from retort.train.run.inspection import refuse_stopped, write_inspection
from tests.tiny.store import byte_level_tokenizer, documents, write_tiny_store

SMALL = ShardSizes(least=1000, spread=1000, most=4000)


def fault() -> Fault:
    wrong = Step(17, math.nan, (0.1, 0.2, math.nan, 0.1), 3e-5, math.nan, samples=16, tokens=99)
    with pytest.raises(TrainingStopped) as caught:
        DivergenceGuard(DivergenceConfig()).judge(wrong)
    return caught.value.fault


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    target = tmp_path_factory.mktemp("texts") / "tokens"
    write_tiny_store(target, documents(60), sizes=SMALL)
    return TokenStore.open(target)


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    target = tmp_path_factory.mktemp("stream") / "tokens"
    given = documents(60)
    tokenizer = byte_level_tokenizer([document.text for document in given])
    write_tiny_store(target, given, tokenizer=tokenizer, sizes=SMALL)
    return TokenStore.open(target)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def owner(line: dict[str, Any]) -> list[int]:
    return [document["document"] for document in line["documents"]]


def test_texts_are_written_with_what_identifies_them(texts: TokenStore, tmp_path: Path) -> None:
    part = texts.part("train")
    batch = ClassificationReader(part, texts.facts.special, (64,), 0, Shards(4)).batch(2, 0)
    place = write_inspection(
        tmp_path,
        fault(),
        {2: batch},
        store=texts,
        part="train",
        losses={2: [0.5, math.nan, 0.25, 1.0]},
    )
    assert place == tmp_path / "stopped" / "step-00000017"
    assert {path.name for path in place.iterdir()} == {"reason.json", "shard-2"}

    arrays = load_file(place / "shard-2" / "batch.safetensors")
    for name in ("ids", "mask", "labels", "documents"):
        assert np.array_equal(arrays[name], getattr(batch, name))

    by_digest = {document.digest[:32]: document for document in documents(60)}
    found = lines(place / "shard-2" / "texts.jsonl")
    assert [line["document"] for line in found] == batch.documents.tolist()
    assert [line["loss"] for line in found] == [0.5, "nan", 0.25, 1.0]
    for line in found:
        document = by_digest[str(line["digest"])]
        assert line["label"] == document.label
        read = str(line["text"]).replace(" ##", "").replace(" ", "")
        assert read == document.text.replace(" ", "")

    reason = json.loads((place / "reason.json").read_text())
    assert reason["step"] == 17
    assert reason["shards"] == [2]
    assert reason["losses"] == [0.1, 0.2, "nan", 0.1]
    assert reason["reason"] == "the loss of shard 2 is nan"


def test_blocks_are_written_with_the_documents_that_they_are_of(
    stream: TokenStore, tmp_path: Path
) -> None:
    part = stream.part("train")
    assert len(part.shards) > 2
    reader = BlockReader(part, stream.facts.special, 8, 0, Shards(4))
    batch = reader.blocks(np.arange(reader.length))
    place = write_inspection(tmp_path, fault(), {2: batch}, store=stream, part="train")
    found = lines(place / "shard-2" / "texts.jsonl")
    assert [line["block"] for line in found] == list(range(reader.length))

    owners = [number for number in range(len(part)) for _ in range(part.lengths[number] + 1)]
    for block, line in enumerate(found):
        targets = int(batch.targets[block])
        span = owners[max(block * 8 - 1, 0) : block * 8 + targets]
        expected = sorted(set(span))
        assert line["documents"] == [
            {"document": number, "digest": part.digest(number)} for number in expected
        ]
    texts_of = {document.digest[:32]: document.text for document in documents(60)}
    longest = max(range(len(part)), key=lambda number: int(part.lengths[number]))
    of_longest = [str(line["text"]) for line in found if owner(line) == [longest]]
    assert of_longest
    assert all(text in texts_of[part.digest(longest)] for text in of_longest)
    assert str(found[0]["text"]).startswith("<|endoftext|>")
    arrays = load_file(place / "shard-2" / "batch.safetensors")
    assert np.array_equal(arrays["ids"], batch.ids)
    assert np.array_equal(arrays["targets"], batch.targets)


def test_a_stopped_run_is_not_resumed_until_someone_says_so(
    texts: TokenStore, tmp_path: Path
) -> None:
    refuse_stopped(tmp_path)
    batch = ClassificationReader(
        texts.part("train"), texts.facts.special, (64,), 0, Shards(4)
    ).batch(2, 0)
    write_inspection(tmp_path, fault(), {2: batch}, store=texts, part="train")
    with pytest.raises(UserError) as caught:
        refuse_stopped(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: was stopped at step 17: the loss of shard 2 is nan, and a resume would stop "
        "there again; lower optimizer.lr, lengthen schedule.warmup, or mend the documents, as a "
        f"new run with another --out, or look at {tmp_path}/stopped/step-00000017 and remove "
        f"{tmp_path}/stopped to go on from the last checkpoint all the same"
    )
    shutil.rmtree(tmp_path / "stopped")
    refuse_stopped(tmp_path)


def test_it_is_written_whole_and_again_but_never_over_something_else(
    texts: TokenStore, tmp_path: Path
) -> None:
    reader = ClassificationReader(texts.part("train"), texts.facts.special, (64,), 0, Shards(4))
    for shards in ((1, 2), (2,)):
        batches = {shard: reader.batch(shard, 0) for shard in shards}
        place = write_inspection(tmp_path, fault(), batches, store=texts, part="train")
    assert [path.name for path in place.glob("shard-*")] == ["shard-2"]
    assert [path.name for path in place.parent.iterdir()] == [place.name]
    (place / "reason.json").unlink()
    with pytest.raises(StorageError, match="holds something else than a stopped step"):
        write_inspection(tmp_path, fault(), {}, store=texts, part="train")
