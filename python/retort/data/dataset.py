"""The sealed data set: distinct documents, split, with what was removed on the way."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from retort.core.digest import canonical_json, sha256_bytes
from retort.core.errors import SealError
from retort.core.seal import Sealed, sealing, verify
from retort.data.config import DataConfig, seal_settings
from retort.data.documents import Document, Part, distinct, split
from retort.data.sources import load_documents

KIND = "dataset"
_FACTS = "facts.json"
_FILES: dict[Part, str] = {"train": "train.jsonl", "held_out": "held_out.jsonl"}


@dataclass(frozen=True)
class DataFacts:
    """How many documents the source gave, and how many of them were not as one would wish."""

    documents: int
    duplicates: int
    ambiguous: int
    empty: int
    not_utf8: int


@dataclass(frozen=True)
class DocumentSet:
    """A verified data set. Documents are in the order of their digests, labels sorted."""

    sealed: Sealed
    labels: tuple[str, ...]
    train: tuple[Document, ...]
    held_out: tuple[Document, ...]
    facts: DataFacts

    def targets(self, documents: Sequence[Document]) -> list[int]:
        """The number of each document's label."""
        numbers: dict[str | None, int] = {label: number for number, label in enumerate(self.labels)}
        return [numbers[document.label] for document in documents]


def prepare_dataset(config: DataConfig, target: Path) -> DocumentSet:
    """Read the source, remove duplicates, split by content, and seal the result at `target`.

    Raises:
        DataError, HubUnavailable: the documents cannot be had, or cannot be learned from.
        StorageError: the disk is full or permission is missing.
    """
    loaded = load_documents(config)
    kept = distinct(loaded.documents)
    parts = split(kept.documents, config.held_out)
    facts = DataFacts(
        documents=len(loaded.documents),
        duplicates=kept.duplicates,
        ambiguous=kept.ambiguous,
        empty=kept.empty,
        not_utf8=loaded.not_utf8,
    )
    source = sha256_bytes(
        canonical_json(sorted([document.label, document.digest] for document in loaded.documents))
    )
    settings = seal_settings(config)
    with sealing(
        target, kind=KIND, inputs={"documents": f"sha256:{source}"}, config=settings
    ) as directory:
        (directory / _FACTS).write_bytes(canonical_json({"labels": parts.labels, **asdict(facts)}))
        for part, documents in (("train", parts.train), ("held_out", parts.held_out)):
            lines = [
                canonical_json({"label": document.label, "text": document.text}) + b"\n"
                for document in documents
            ]
            (directory / f"{part}.jsonl").write_bytes(b"".join(lines))
    return load_dataset(target)


def load_dataset(path: Path) -> DocumentSet:
    """Verify a sealed data set and read it.

    Raises:
        SealError: it is not sealed, truncated, altered or not a data set; the file is named.
    """
    sealed = verify(path, kind=KIND)
    try:
        facts = json.loads(sealed.read(_FACTS))
        labels = tuple(facts.pop("labels"))
        return DocumentSet(
            sealed=sealed,
            labels=labels,
            train=_documents(sealed, "train"),
            held_out=_documents(sealed, "held_out"),
            facts=DataFacts(**facts),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SealError(f"{path}: is sealed but not a data set of ours: {error}") from error


def _documents(sealed: Sealed, part: Part) -> tuple[Document, ...]:
    lines = sealed.read(_FILES[part]).splitlines()
    values = (json.loads(line) for line in lines)
    return tuple(Document(value["text"], value["label"], part) for value in values)
