"""Writes token stores: read and tokenised by workers, cut into shards, sealed.

The same documents in the same order give the same store, whoever works, and whatever was
there before. Tokens wait in a hidden directory beside the target until the store is sealed, so a
writer that was killed, or whose source was at fault, does not tokenise them again.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from retort.core.atomic import storage_errors
from retort.core.digest import JSON, canonical_json, sha256_bytes
from retort.core.errors import SealError, StorageError
from retort.core.locks import take_lock
from retort.core.machine import give_back_memory
from retort.core.seal import Sealed, read_manifest, sealed_here, sealing
from retort.data.config import CorpusConfig, seal_settings
from retort.data.corpus.corpus import Corpus, CorpusReader
from retort.data.corpus.verdicts import PART_OF_VERDICT
from retort.data.preparation.assembly import plan_shards, write_shards
from retort.data.preparation.token_bank import TokenBank
from retort.data.reading.read_piece import ReadingJob
from retort.data.reading.workers import LocalWorkers, Workers
from retort.data.store.shards import ShardFacts, ShardSizes
from retort.data.store.store import FACTS, FORMAT, KIND, TOKENIZER, StoreFacts
from retort.data.tokenizers.choose import choose_encoder
from retort.data.tokenizers.library import load_tokenizer
from retort.data.tokenizers.special_tokens import special_tokens
from retort.data.tokenizers.spellings import SpecialInText

Progress = Callable[[float, int, int], None]


@dataclass(frozen=True)
class Written:
    """A store just written.

    Attributes:
        corpus: what it was made from.
        documents, tokens: what it holds, boundaries not counted.
        tokenised, reused: documents that were tokenised now, and those whose tokens were there.
    """

    sealed: Sealed
    corpus: Corpus
    documents: int
    tokens: int
    tokenised: int
    reused: int


def write_store(
    target: Path,
    config: CorpusConfig,
    tokenizer: bytes,
    *,
    workers: Workers | None = None,
    sizes: ShardSizes | None = None,
    settings: Mapping[str, JSON] | None = None,
    special_in_text: SpecialInText = "text",
    progress: Progress | None = None,
    extra: Callable[[Corpus], Mapping[str, bytes]] | None = None,
) -> Written:
    """Read documents, tokenise them, and seal those that stay at `target`.

    Args:
        tokenizer: content of a `tokenizer.json`.
        workers: who reads; without one, this process.
        sizes: of the shards; part of the store's configuration.
        settings: what the caller adds to the manifest's configuration.
        special_in_text: what is done with special tokens that texts spell.
        progress: called with the share of the source that is read, and the documents and tokens.
        extra: gives further files to seal, by name; called in a thread beside the one that writes.
    Raises:
        DataError: the source cannot be read or learned from; nothing is sealed.
        HubUnavailable: it is on the hub, which cannot be reached.
        SealError: something else than a token store is at `target`.
        StorageError: the disk is full, permission is missing, or another process writes here.
    """
    target = Path(os.path.abspath(target))
    sizes = sizes or ShardSizes()
    _check_target(target)
    loaded = load_tokenizer(tokenizer, special_in_text=special_in_text)
    encoder = choose_encoder(loaded, tokenizer, special_in_text=special_in_text)
    special = special_tokens(loaded)
    del loaded
    give_back_memory()  # some 100 MB of tokenizers that processes make for themselves
    boundary = special.boundary or 0
    recipe = canonical_json(
        {
            "format": FORMAT,
            "tokenizer": sha256_bytes(tokenizer),
            "boundary": boundary,
            # A text that was refused has no tokens, and any other has those of `text`.
            "special_in_text": "special" if special_in_text == "special" else "text",
        }
    )
    with _work_directory(target) as work:
        bank = TokenBank(target, work, recipe)
        earlier = {
            given: (file, sha256)
            for given, (file, sha256) in _shards_of(target, tokenizer, special_in_text).items()
            if bank.take_over(file, sha256)
        }
        reader = CorpusReader(ReadingJob(config, encoder, boundary, bank.known()))
        share, documents, tokens = 0.0, 0, 0
        for chunk in reader.read(workers or LocalWorkers(1)):
            bank.add(chunk)
            share += chunk.share
            documents += len(chunk.columns)
            tokens += int(chunk.lengths.sum())
            if progress is not None:
                progress(min(share, 1.0), documents, tokens)
        columns = reader.columns()
        located = bank.locate(columns)
        corpus = reader.settle(columns, located.lengths, located.prints)
        inputs = {
            "tokenizer": f"sha256:{sha256_bytes(tokenizer)}",
            "documents": corpus.digest,
        }
        all_settings: dict[str, JSON] = {
            "data": seal_settings(config),
            "shards": asdict(sizes),
            "special_in_text": special_in_text,
            **(settings or {}),
        }
        with sealing(target, kind=KIND, inputs=inputs, config=all_settings) as directory:
            (directory / "shards").mkdir()
            shards = plan_shards(corpus, sizes, recipe)
            parts: dict[str, list[ShardFacts]] = {shard.part: [] for shard in shards}
            with ThreadPoolExecutor(1) as meanwhile:
                further = meanwhile.submit(extra or (lambda _: {}), corpus)
                for shard, facts in write_shards(directory, shards, bank, located, earlier):
                    parts[shard.part].append(facts)
            store = StoreFacts(
                dtype=encoder.dtype.name,
                vocabulary_size=encoder.vocabulary_size,
                labels=corpus.labels,
                special=special,
                parts={part: tuple(shards) for part, shards in parts.items()},
                special_in_text=special_in_text,
            )
            files = {TOKENIZER: tokenizer, FACTS: store.to_bytes()}
            for name, content in (files | dict(further.result())).items():
                (directory / name).write_bytes(content)
    stays = np.isin(corpus.verdicts, list(PART_OF_VERDICT))
    return Written(
        sealed=sealed_here(target),
        corpus=corpus,
        documents=int(stays.sum()),
        tokens=int(located.lengths[stays].sum()),
        tokenised=int((stays & ~located.reused).sum()),
        reused=int((stays & located.reused).sum()),
    )


def _shards_of(
    target: Path, tokenizer: bytes, special_in_text: SpecialInText
) -> dict[str, tuple[Path, str]]:
    """The shards of the store that is replaced: input digest -> file and its SHA-256, unchecked.

    None if its texts would have other tokens now, or it is damaged: then it is replaced by a whole
    one.
    """
    if not (target.is_dir() and any(target.iterdir())):
        return {}
    manifest = read_manifest(target)
    digests = {file.path: file.sha256 for file in manifest.files}
    if manifest.inputs.get("tokenizer") != f"sha256:{sha256_bytes(tokenizer)}":
        return {}
    content = b""
    with suppress(OSError):
        content = (target / FACTS).read_bytes()
    if sha256_bytes(content) != digests.get(FACTS):
        return {}
    facts = StoreFacts.from_bytes(content)
    if (facts.special_in_text == "special") != (special_in_text == "special"):
        return {}
    return {
        shard.input: (target / shard.file, shard.sha256)
        for shards in facts.parts.values()
        for shard in shards
    }


def _check_target(target: Path) -> None:
    """Refuse at once what the seal would refuse after all the work."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise StorageError(f"{target}: is not a directory; remove it or choose another place")
    if target.is_dir() and any(target.iterdir()):
        present = read_manifest(target).kind
        if present != KIND:
            raise SealError(f"{target}: holds a sealed {present}, not a {KIND}; remove it first")


@contextmanager
def _work_directory(target: Path) -> Iterator[Path]:
    """A locked directory beside the target; it stays, with the tokens in it, after an error."""
    work = target.with_name(f".{target.name}.work")
    with storage_errors(target):
        lock = _lock(work, target)
    try:
        yield work
        shutil.rmtree(work, ignore_errors=True)
    finally:
        with suppress(OSError):
            work.rmdir()  # nothing is worth keeping if nothing is in it
        os.close(lock)


def _lock(work: Path, target: Path) -> int:
    """Make a directory and lock it: a descriptor that holds the lock."""
    while True:
        work.mkdir(parents=True, exist_ok=True)
        try:
            return take_lock(work)
        except BlockingIOError as error:
            raise StorageError(
                f"{target}: is being written by another process; wait for it to end"
            ) from error
        except FileNotFoundError:
            continue  # the writer before us has just removed what we had opened
