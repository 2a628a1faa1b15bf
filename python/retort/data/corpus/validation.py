"""What is known of a corpus before it is used: counts, labels, lengths, copies, encodings."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from retort.core.digest import canonical_json
from retort.core.errors import DataError
from retort.data.config import NotUtf8
from retort.data.corpus.verdicts import (
    AMBIGUOUS,
    DUPLICATE,
    EMPTY,
    HELD_OUT,
    NEAR,
    SAME_TOKENS,
    TOKENLESS,
    TRAIN,
)
from retort.data.files.decoding import Place
from retort.data.reading.chunks import Columns
from retort.data.similar.near_duplicates import NearDuplicates
from retort.data.sources.documents import Part, labels_of
from retort.data.tokenizers.spellings import SpecialInText

_BINS = 40
_FAR = 8
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_IMBALANCE = 10


@dataclass(frozen=True)
class Schema:
    """What a document is in the source.

    Attributes:
        files: how many there are; 0 where the source is a hub's.
        text, label: names of columns or keys; None where the format has none.
    """

    source: str
    files: int
    text: str | None
    label: str | None


@dataclass(frozen=True)
class Encodings:
    """Documents that are not UTF-8, what was done with them, and where the first of them are."""

    policy: NotUtf8
    not_utf8: int
    dropped: int
    places: tuple[Place, ...]


@dataclass(frozen=True)
class BadPlace:
    """Where a row that was dropped stands, and why it was."""

    reason: str
    place: Place


@dataclass(frozen=True)
class Rows:
    """What was in the source and is no document.

    Attributes:
        blank: lines with nothing on them, where such a line is no document.
        dropped: bad rows that were left out, by reason; `places` of the first of them.
        files_left_out: by reason.
    """

    blank: int
    dropped: Mapping[str, int]
    places: tuple[BadPlace, ...]
    files_left_out: Mapping[str, int]


@dataclass(frozen=True)
class SpecialTokensInTexts:
    """Special tokens that texts spell.

    Attributes:
        policy: how they were read.
        documents: that spell one; `places` of the first of them.
        tokens: how often each is spelled.
    """

    policy: SpecialInText
    documents: int
    tokens: Mapping[str, int]
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Met:
    """What was met while a source was read; `special` is None where no tokenizer was used."""

    encodings: Encodings
    rows: Rows
    special: SpecialTokensInTexts | None


@dataclass(frozen=True)
class LabelCounts:
    """Documents of one label that stay."""

    label: str
    train: int
    held_out: int


@dataclass(frozen=True)
class Lengths:
    """How long the documents that stay are.

    Attributes:
        quantiles: by their share: `0.5` is the median. Each is the length of some document.
        edges: of the bins, one more than counts: equally far apart, or where the longest document is
            over eight times the median, each about the same factor from the next.
        counts: documents in each bin, its lower edge included, its upper one not.
    """

    total: int
    mean: float
    minimum: int
    maximum: int
    quantiles: Mapping[str, int]
    edges: tuple[int, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Validation:
    """The result of looking at a corpus.

    Attributes:
        documents: as the source gave them; the next six were removed: `tokenless` have no token,
            `same_tokens` those of one that is held out.
        crossing: texts in both parts of a source that has its own; their copies to learn from are
            among the duplicates removed.
        tokens: None where no tokenizer was used.
        near_duplicates: None where the recipe says not to look.
        warnings: what a person should look at.
    """

    schema: Schema
    encodings: Encodings
    rows: Rows
    special: SpecialTokensInTexts | None
    documents: int
    empty: int
    tokenless: int
    duplicates: int
    ambiguous: int
    same_tokens: int
    near_removed: int
    train: int
    held_out: int
    crossing: int
    labels: tuple[LabelCounts, ...]
    characters: Lengths
    tokens: Lengths | None
    near_duplicates: NearDuplicates | None
    warnings: tuple[str, ...]

    @property
    def removed(self) -> dict[str, int]:
        """How many documents were removed, by reason."""
        return {
            name: getattr(self, name)
            for name in (
                "empty",
                "tokenless",
                "duplicates",
                "ambiguous",
                "same_tokens",
                "near_removed",
            )
        }

    def to_json(self) -> bytes:
        """Canonical JSON: equal results are equal bytes."""
        return canonical_json(asdict(self))


def validate(
    schema: Schema,
    columns: Columns,
    verdicts: NDArray[np.uint8],
    *,
    tokens: NDArray[np.int64] | None,
    crossing: int,
    met: Met,
    near: NearDuplicates | None,
) -> Validation:
    """Put the figures of a corpus together.

    Args:
        tokens: of each document; None where they are not known.
    Raises:
        DataError: nothing stays, a part is empty, or the labels cannot be learned from.
    """
    counts = {verdict: int((verdicts == verdict).sum()) for verdict in range(HELD_OUT + 1)}
    for verdict, part in ((TRAIN, "train"), (HELD_OUT, "held_out")):
        if counts[verdict] == 0:
            raise DataError(
                f"no document falls in the {part} part, of {len(columns)} that the source has; "
                "give more documents or change data.held_out"
            )
    stays = (verdicts == TRAIN) | (verdicts == HELD_OUT)
    labels = _labels(columns, verdicts)
    return Validation(
        schema=schema,
        encodings=met.encodings,
        rows=met.rows,
        special=met.special,
        documents=len(columns),
        empty=counts[EMPTY],
        tokenless=counts[TOKENLESS],
        duplicates=counts[DUPLICATE],
        ambiguous=counts[AMBIGUOUS],
        same_tokens=counts[SAME_TOKENS],
        near_removed=counts[NEAR],
        train=counts[TRAIN],
        held_out=counts[HELD_OUT],
        crossing=crossing,
        labels=labels,
        characters=measure_lengths(columns.characters[stays]),
        tokens=None if tokens is None else measure_lengths(tokens[stays]),
        near_duplicates=near,
        warnings=tuple(_warnings(counts, crossing, labels, met, near)),
    )


def measure_lengths(lengths: NDArray[np.uint32] | NDArray[np.int64]) -> Lengths:
    """Figures of the lengths of at least one document."""
    ordered = np.sort(lengths)
    low, high = int(ordered[0]), int(ordered[-1])
    edges = _edges(low, high, median=int(ordered[len(ordered) // 2]))
    counts, _ = np.histogram(ordered, bins=edges)
    total = int(ordered.sum(dtype=np.uint64))
    last = len(ordered) - 1
    return Lengths(
        total=total,
        mean=total / len(ordered),
        minimum=low,
        maximum=high,
        quantiles={str(share): int(ordered[int(share * last)]) for share in _QUANTILES},
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
    )


def _edges(low: int, high: int, median: int) -> NDArray[np.int64]:
    if high <= _FAR * median:
        width = -(-(high + 1 - low) // _BINS)
        return np.arange(low, high + 1 + width, width, dtype=np.int64)
    edges = np.unique(np.geomspace(max(low, 1), high + 1, _BINS + 1).round().astype(np.int64))
    edges[0], edges[-1] = low, high + 1
    return edges


def _labels(columns: Columns, verdicts: NDArray[np.uint8]) -> tuple[LabelCounts, ...]:
    """Counts of each label, sorted; none where documents have no labels."""
    if columns.names == (None,):
        return ()
    numbers = columns.labels
    size = len(columns.names)
    counts = {
        part: np.bincount(numbers[verdicts == verdict], minlength=size).tolist()
        for part, verdict in (("train", TRAIN), ("held_out", HELD_OUT))
    }
    found: dict[Part, set[str | None]] = {
        "train": {
            name for name, count in zip(columns.names, counts["train"], strict=True) if count
        },
        "held_out": {
            name for name, count in zip(columns.names, counts["held_out"], strict=True) if count
        },
    }
    places = {label: place for place, label in enumerate(columns.names)}
    return tuple(
        LabelCounts(label, counts["train"][places[label]], counts["held_out"][places[label]])
        for label in labels_of(found)
    )


def _warnings(
    counts: Mapping[int, int],
    crossing: int,
    labels: Sequence[LabelCounts],
    met: Met,
    near: NearDuplicates | None,
) -> list[str]:
    warnings = []
    if met.rows.files_left_out:
        left_out = "; ".join(f"{count:,} {why}" for why, count in met.rows.files_left_out.items())
        warnings.append(f"files that are no documents were left out: {left_out}")
    if met.rows.dropped:
        dropped = "; ".join(f"{count:,} {why}" for why, count in met.rows.dropped.items())
        warnings.append(f"rows that are bad were dropped: {dropped}")
    if met.special is not None and met.special.documents and met.special.policy == "special":
        tokens = ", ".join(
            f"{token} {count:,} times" for token, count in met.special.tokens.items()
        )
        warnings.append(
            f"{met.special.documents:,} documents spell special tokens, which they were given: {tokens}"
        )
    if counts[SAME_TOKENS]:
        warnings.append(
            f"{counts[SAME_TOKENS]:,} documents to learn from had the tokens of one held out and "
            "were removed"
        )
    if crossing:
        warnings.append(
            f"{crossing:,} texts are in both parts of the source; the copies to learn from "
            "were removed"
        )
    if near is not None and near.leaking > near.removed:
        warnings.append(
            f"{near.leaking:,} documents to learn from are nearly the same as one held out; "
            "data.near_duplicates.action can remove them"
        )
    if near is not None and near.beyond:
        warnings.append(
            f"only {near.compared:,} documents were compared for near-duplicates, and "
            f"{near.beyond:,} were not; data.near_duplicates.documents allows more"
        )
    if near is not None and near.wordless:
        warnings.append(
            f"{near.wordless:,} documents have no words to be compared by for near-duplicates"
        )
    if labels:
        sizes = sorted((one.train + one.held_out, one.label) for one in labels)
        (least, rare), (most, common) = sizes[0], sizes[-1]
        if most > _IMBALANCE * least:
            warnings.append(f"label {common!r} has {most:,} documents and label {rare!r} {least:,}")
    if counts[AMBIGUOUS]:
        warnings.append(
            f"{counts[AMBIGUOUS]:,} documents have a text that stands under several labels"
        )
    if met.encodings.dropped:
        warnings.append(f"{met.encodings.dropped:,} documents that are not UTF-8 were left out")
    return warnings
