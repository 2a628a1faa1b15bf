"""Writes token stores: in parallel, resumable after a kill, and reusing what has not changed.

The same documents in the same order give the same store, whatever the number of workers, and
whatever was there before. Finished shards wait in a hidden directory beside the target until the
store is sealed; a writer that was killed finds them there, and checks each before it uses it.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from retort.core.atomic import storage_errors
from retort.core.config import nearest
from retort.core.digest import JSON, canonical_json, sha256_bytes, sha256_file
from retort.core.errors import DataError, SealError, StorageError
from retort.core.seal import Sealed, read_manifest, sealing, verify
from retort.data.documents import Document
from retort.data.encoders import load_tokenizer, token_dtype, vocabulary_size
from retort.data.shard_pool import ShardPool, ShardSetup, finished_file, finished_shards
from retort.data.shards import (
    UNLABELLED,
    Entry,
    ShardFacts,
    ShardSizes,
    document_entry,
    shard_facts,
    shard_input,
)
from retort.data.store import FACTS, FORMAT, KIND, TOKENIZER, StoreFacts, special_tokens

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Written:
    """A store just written.

    Attributes:
        documents, tokens: what it holds, boundaries not counted.
        tokenised, reused: documents that were tokenised now, and those whose shard was there.
    """

    sealed: Sealed
    documents: int
    tokens: int
    tokenised: int
    reused: int


def write_store(
    target: Path,
    documents: Iterable[Document],
    *,
    tokenizer: bytes,
    labels: Sequence[str],
    inputs: Mapping[str, str] | None = None,
    config: Mapping[str, JSON] | None = None,
    workers: int = 1,
    batch: int = 256,
    sizes: ShardSizes | None = None,
    previous: Path | None = None,
    progress: Progress | None = None,
    extra: Callable[[], Mapping[str, bytes]] | None = None,
) -> Written:
    """Tokenise documents and seal them at `target`.

    Args:
        documents: distinct, each with its part, in an order that new documents do not disturb.
        tokenizer: content of a `tokenizer.json`.
        labels: every label that documents may have, in the order of their numbers.
        inputs, config: what the caller adds to the manifest.
        workers: number of processes that tokenise.
        batch: number of documents that are encoded at a time.
        sizes: of the shards; part of the store's configuration.
        previous: a store whose shards may be reused; without it, the one at `target`.
        progress: called with the documents and tokens done so far.
        extra: called after the last document; gives further files to seal, by name.
    Raises:
        DataError: a document has no part or an unknown label, or there is none.
        SealError: something else than a token store is at `target`, or `previous` is none.
        StorageError: the disk is full, permission is missing, or another process writes here.
    """
    target = Path(os.path.abspath(target))
    sizes = sizes or ShardSizes()
    _check_target(target)
    with _work_directory(target) as work:
        kept = {**_shards_of(target, previous), **finished_shards(work)}
        definition = load_tokenizer(tokenizer)
        size = vocabulary_size(definition)
        special = special_tokens(definition)
        setup = ShardSetup(target, work, tokenizer, special.boundary or 0, batch)
        plan = _Plan(setup, kept, progress)
        with ShardPool(setup, workers, plan.finished) as pool:
            for part, entries in _shards(documents, labels, sizes):
                given = plan.next(part, entries)
                if given is not None:
                    pool.submit(given, entries)
            pool.drain()
        if not plan.order:
            raise DataError("there are no documents to tokenise")
        facts = StoreFacts(
            dtype=token_dtype(size).name,
            vocabulary_size=size,
            labels=tuple(labels),
            special=special,
            parts={
                part: tuple(plan.made[given][0] for given in order)
                for part, order in plan.order.items()
            },
        )
        all_inputs = {
            "tokenizer": f"sha256:{sha256_bytes(tokenizer)}",
            "documents": f"sha256:{sha256_bytes(canonical_json(plan.order))}",
            **(inputs or {}),
        }
        all_config = {**(config or {}), "shards": asdict(sizes)}
        with sealing(target, kind=KIND, inputs=all_inputs, config=all_config) as directory:
            files = {TOKENIZER: tokenizer, FACTS: facts.to_bytes(), **(extra() if extra else {})}
            for name, content in files.items():
                (directory / name).write_bytes(content)
            (directory / "shards").mkdir()
            for shard, source in plan.made.values():
                _link(source, directory / shard.file)
    return Written(
        sealed=verify(target, kind=KIND),
        documents=plan.tokenised + plan.reused,
        tokens=plan.tokens,
        tokenised=plan.tokenised,
        reused=plan.reused,
    )


@dataclass
class _Plan:
    """Which shards the store will have, and where the file of each one lies.

    Attributes:
        kept: input digest -> file of a shard that may be reused, and its SHA-256.
        order: part -> the input digests of its shards.
        made: input digest -> what is known of the shard, and its file.
    """

    setup: ShardSetup
    kept: Mapping[str, tuple[Path, str]]
    progress: Progress | None
    order: dict[str, list[str]] = field(default_factory=dict)
    made: dict[str, tuple[ShardFacts, Path]] = field(default_factory=dict)
    tokenised: int = 0
    reused: int = 0
    tokens: int = 0

    def __post_init__(self) -> None:
        self._recipe = canonical_json(
            {
                "format": FORMAT,
                "tokenizer": sha256_bytes(self.setup.definition),
                "boundary": self.setup.boundary,
            }
        )

    def next(self, part: str, entries: Sequence[Entry]) -> str | None:
        """Note the next shard of a part; its input digest if it must be made, else None."""
        given = shard_input(self._recipe, part, entries)
        self.order.setdefault(part, []).append(given)
        if given not in self.kept:
            return given
        file, sha256 = self.kept[given]
        with suppress(OSError):
            if sha256_file(file) == sha256:
                facts = shard_facts(file, sha256)
                self.reused += facts.documents
                self._add(facts, file)
                return None
        return given

    def finished(self, facts: ShardFacts) -> None:
        """Note that a shard was made."""
        self.tokenised += facts.documents
        self._add(facts, finished_file(self.setup.work, facts))

    def _add(self, facts: ShardFacts, file: Path) -> None:
        self.made[facts.input] = (facts, file)
        self.tokens += facts.tokens
        if self.progress is not None:
            self.progress(self.tokenised + self.reused, self.tokens)


def _shards(
    documents: Iterable[Document], labels: Sequence[str], sizes: ShardSizes
) -> Iterator[tuple[str, list[Entry]]]:
    """Cut the documents of each part into shards."""
    numbers: dict[str | None, int] = {None: UNLABELLED}
    numbers.update((label, number) for number, label in enumerate(labels))
    parts: dict[str, list[Entry]] = {}
    filled: dict[str, int] = {}
    for document in documents:
        if document.part is None:
            raise DataError(f"a document is in no part: {document.text[:60]!r}")
        if document.label not in numbers:
            known = nearest(str(document.label), labels)
            raise DataError(f"documents have the label {document.label!r}{known}")
        entry, size = document_entry(document.text, numbers[document.label])
        parts.setdefault(document.part, []).append(entry)
        filled[document.part] = filled.get(document.part, 0) + size
        if sizes.ends(filled[document.part], size, entry.digest):
            yield document.part, parts.pop(document.part)
            del filled[document.part]
    yield from sorted(parts.items())


def _shards_of(target: Path, previous: Path | None) -> dict[str, tuple[Path, str]]:
    """The shards of an earlier store: input digest -> file and its SHA-256, unchecked."""
    store = previous or target
    if previous is None and not (target.is_dir() and any(target.iterdir())):
        return {}
    manifest = read_manifest(store)
    if manifest.kind != KIND:
        raise SealError(f"{store}: is a sealed {manifest.kind}, and a {KIND} is needed")
    digests = {file.path: file.sha256 for file in manifest.files}
    content = b""
    with suppress(OSError):
        content = (store / FACTS).read_bytes()
    if sha256_bytes(content) != digests.get(FACTS):
        if previous is None:
            return {}  # it is replaced by a whole one
        raise SealError(f"{store / FACTS}: is altered: its SHA-256 is not the sealed one")
    facts = StoreFacts.from_bytes(content)
    return {
        shard.input: (store / shard.file, shard.sha256)
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
    """A locked directory beside the target; it stays, with the finished shards, after an error."""
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
        lock = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), work.stat()):
                return lock
        except BlockingIOError as error:
            os.close(lock)
            raise StorageError(
                f"{target}: is being written by another process; wait for it to end"
            ) from error
        except FileNotFoundError:
            pass
        os.close(lock)  # the writer before us has just removed what we had opened


def _link(source: Path, file: Path) -> None:
    """Give a file a second name, or make a copy where that is not possible."""
    if file.exists():
        return
    try:
        os.link(source, file)
    except OSError:
        shutil.copyfile(source, file)
