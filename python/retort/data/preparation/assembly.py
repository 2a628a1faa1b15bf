"""The shards of a store, put together from tokens that are at hand."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retort.data.corpus.corpus import Corpus
from retort.data.corpus.verdicts import PART_OF_VERDICT
from retort.data.preparation.token_bank import Located, TokenBank
from retort.data.store.shards import (
    UNLABELLED,
    ShardFacts,
    ShardSizes,
    shard_content,
    shard_facts,
    shard_input,
)

_SHARDS_AT_A_TIME = 4


@dataclass(frozen=True)
class PlannedShard:
    """Documents of one part that will be in one file.

    Attributes:
        documents: int64 [documents], their numbers in the source.
        keys: uint8 [documents, 24], the first bytes of the SHA-256 of each text.
        labels: int32 [documents], their label numbers.
        input: the digest of all this and what tokens depend on beside the text.
    """

    part: str
    documents: NDArray[np.int64]
    keys: NDArray[np.uint8]
    labels: NDArray[np.int32]
    input: str


def plan_shards(corpus: Corpus, sizes: ShardSizes, recipe: bytes) -> list[PlannedShard]:
    """Cut the documents that stay into shards, part by part.

    Args:
        recipe: what tokens depend on beside the text.
    """
    columns = corpus.columns
    numbers = {label: number for number, label in enumerate(corpus.labels)}
    label_numbers = np.array([numbers.get(str(name), UNLABELLED) for name in columns.names])
    planned = []
    for verdict, part in sorted(PART_OF_VERDICT.items(), key=lambda one: one[1]):
        documents = np.flatnonzero(corpus.verdicts == verdict)
        keys, lengths = columns.keys[documents], columns.bytes[documents].astype(np.int64)
        for start, end in sizes.cut(keys, lengths):
            chosen = documents[start:end]
            labels = label_numbers[columns.labels[chosen]].astype(np.int32)
            given = shard_input(recipe, part, keys[start:end], labels)
            planned.append(PlannedShard(part, chosen, keys[start:end], labels, given))
    return planned


def write_shards(
    directory: Path,
    shards: Sequence[PlannedShard],
    bank: TokenBank,
    located: Located,
    earlier: Mapping[str, tuple[Path, str]],
) -> Iterator[tuple[PlannedShard, ShardFacts]]:
    """Write the files of shards, a few at a time, or link those that an earlier store has.

    Args:
        earlier: input digest -> file of a shard that is known to be whole, and its SHA-256.
    Raises:
        OSError: the disk is full or permission is missing.
    """

    def put(shard: PlannedShard, slots: NDArray[Any] | None) -> ShardFacts:
        if slots is None:
            return _link_shard(directory, *earlier[shard.input])
        return _write_shard(directory, shard, located.lengths[shard.documents], slots)

    with ThreadPoolExecutor(_SHARDS_AT_A_TIME) as threads:
        for start in range(0, len(shards), _SHARDS_AT_A_TIME):
            some = shards[start : start + _SHARDS_AT_A_TIME]
            slots = [
                None if shard.input in earlier else bank.slots(located, shard.documents)
                for shard in some
            ]
            yield from zip(some, threads.map(put, some, slots), strict=True)


def _write_shard(
    directory: Path, shard: PlannedShard, lengths: NDArray[np.int64], slots: NDArray[Any]
) -> ShardFacts:
    content = shard_content(shard.keys, shard.labels, lengths, slots, shard.input)
    digest = hashlib.sha256()
    for piece in content:
        digest.update(piece)
    facts = ShardFacts(digest.hexdigest(), shard.input, len(lengths), int(lengths.sum()))
    with (directory / facts.file).open("wb") as file:
        file.writelines(content)
    return facts


def _link_shard(directory: Path, source: Path, sha256: str) -> ShardFacts:
    facts = shard_facts(source, sha256)
    try:
        os.link(source, directory / facts.file)
    except OSError:
        shutil.copyfile(source, directory / facts.file)
    return facts
