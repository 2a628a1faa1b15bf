"""The report of a corpus, beside what is made of it."""

import json
from collections.abc import Mapping, Sequence

from retort.core.report import code, lines
from retort.core.report import render as page
from retort.data.config import seal_settings
from retort.data.corpus.corpus import Corpus
from retort.data.corpus.plots import labels_picture, lengths_picture
from retort.data.corpus.validation import Lengths, Rows, Validation
from retort.data.files.decoding import Place, printable
from retort.data.similar.near_duplicates import NearDuplicates

_DRAWN = 60
_LISTED = 20
_COMPARED = {
    True: "the digest of every text was compared",
    False: "the digests of every text and of its tokens were compared",
}
_SPECIAL = {
    "text": "read as its characters",
    "special": "read as the token",
    "refuse": "refused",
}
_POLICIES = {
    "refuse": "refused",
    "latin-1": "read as Latin-1",
    "replace": "read with U+FFFD for what is wrong",
    "drop": "left out",
}


def render(corpus: Corpus) -> str:
    """The report as HTML: equal corpora give equal bytes, wherever they lie and whatever the recipe
    is called."""
    validation, name = corpus.validation, corpus.config.name
    special, near = validation.special, validation.near_duplicates
    unit, lengths = _lengths_shown(validation)
    drawn = 0 < len(validation.labels) <= _DRAWN
    return page(
        "retort.data.corpus",
        "corpus.html",
        title=f"{name}: {_kept(validation):,} documents",
        name=name,
        verdicts=_verdicts(validation),
        figures=_figures(validation),
        digest=corpus.digest,
        validation=validation,
        lengths_picture=lengths_picture(lengths, unit),
        lengths=_lengths(validation),
        labels_picture=labels_picture(validation.labels) if drawn else "",
        labels=_labels(validation),
        counts=_counts(validation),
        not_utf8=_places(validation.encodings.places),
        special_tokens=special
        and {code(name): count for name, count in _numbers(special.tokens).items()},
        special_places=special and _places(special.places),
        bad_rows=_numbers(validation.rows.dropped),
        bad_places=_bad_rows(validation.rows),
        left_out=_numbers(validation.rows.files_left_out),
        near=near and _near(near),
        pairs=near and _pairs(near),
        source=_source(corpus.digest, validation),
        settings=json.dumps(seal_settings(corpus.config), indent=2, ensure_ascii=False),
    )


def _kept(validation: Validation) -> int:
    return validation.train + validation.held_out


def _verdicts(validation: Validation) -> list[tuple[str, bool]]:
    compared = _COMPARED[validation.tokens is None]
    parted = f"No text that is held out is also learned from: {compared}."
    return [(parted, True), *((f"Look at this: {one}.", False) for one in validation.warnings)]


def _figures(validation: Validation) -> dict[str, str]:
    unit, lengths = _lengths_shown(validation)
    figures = {
        "to learn from": f"{validation.train:,}",
        "held out": f"{validation.held_out:,}",
        unit: _short(lengths.total),
        f"{unit} in a document, median": f"{lengths.quantiles['0.5']:,}",
    }
    if validation.labels:
        figures["labels"] = f"{len(validation.labels):,}"
    return figures


def _lengths(validation: Validation) -> list[Sequence[str]]:
    """Columns, then rows."""
    _, lengths = _lengths_shown(validation)
    shares = [f"{float(share):.0%}" for share in lengths.quantiles]
    columns = ("", "shortest", *shares, "longest", "mean")
    tokens = validation.tokens
    counted = [] if tokens is None else [_length_row("tokens", tokens)]
    return [columns, *counted, _length_row("characters", validation.characters)]


def _lengths_shown(validation: Validation) -> tuple[str, Lengths]:
    if validation.tokens is None:
        return "characters", validation.characters
    return "tokens", validation.tokens


def _length_row(name: str, lengths: Lengths) -> tuple[str, ...]:
    whole = (lengths.minimum, *lengths.quantiles.values(), lengths.maximum)
    return (name, *(f"{one:,}" for one in whole), f"{lengths.mean:,.1f}")


def _labels(validation: Validation) -> list[Sequence[str]]:
    total = _kept(validation)
    return [
        (
            printable(one.label),
            f"{one.train:,}",
            f"{one.held_out:,}",
            f"{(one.train + one.held_out) / total:.1%}",
        )
        for one in validation.labels
    ]


def _numbers(counts: Mapping[str, int]) -> dict[str, str]:
    return {name: f"{count:,}" for name, count in counts.items()}


def _counts(validation: Validation) -> dict[str, str]:
    encodings = validation.encodings
    policy = _POLICIES[encodings.policy]
    counts = {
        "read from the source": f"{validation.documents:,}",
        "blank lines, skipped": f"{validation.rows.blank:,}",
        "bad rows, dropped": f"{sum(validation.rows.dropped.values()):,}",
        f"not UTF-8, {policy}": f"{encodings.not_utf8:,}",
    }
    if validation.special is not None:
        how = _SPECIAL[validation.special.policy]
        counts[f"spelling a special token, {how}"] = f"{validation.special.documents:,}"
    return counts | {
        "empty, removed": f"{validation.empty:,}",
        "without a token, removed": f"{validation.tokenless:,}",
        "exact duplicates, removed": f"{validation.duplicates:,}",
        "same text with different labels, removed": f"{validation.ambiguous:,}",
        "texts in both parts of the source": f"{validation.crossing:,}",
        "same tokens as one held out, removed": f"{validation.same_tokens:,}",
        "nearly the same as one held out, removed": f"{validation.near_removed:,}",
        "to learn from": f"{validation.train:,}",
        "held out": f"{validation.held_out:,}",
    }


def _places(places: Sequence[Place]) -> list[tuple[str, str, str]]:
    return [_place(one) for one in places[:_LISTED]]


def _bad_rows(rows: Rows) -> list[Sequence[str]]:
    return [(*_place(one.place), one.reason) for one in rows.places[:_LISTED]]


def _place(place: Place) -> tuple[str, str, str]:
    offset = "" if place.offset is None else f"{place.offset:,}"
    return code(place.file), f"{place.row or ''}", offset


def _near(near: NearDuplicates) -> dict[str, str]:
    return {
        "documents compared": f"{near.compared:,}",
        "not compared, more than the recipe allows": f"{near.beyond:,}",
        "not compared, without words": f"{near.wordless:,}",
        "pairs": f"{near.pairs:,}",
        "groups of such documents": f"{near.clusters:,}",
        "documents in the largest group": f"{near.largest:,}",
        "pairs across the split": f"{near.crossing_pairs:,}",
        "documents to learn from that are near one held out": f"{near.leaking:,}",
        "of them removed": f"{near.removed:,}",
    }


def _pairs(near: NearDuplicates) -> list[Sequence[str]]:
    return [
        (
            lines(
                f"{one.first_part.replace('_', ' ')} {one.first:,}: {one.first_text}",
                f"{one.second_part.replace('_', ' ')} {one.second:,}: {one.second_text}",
            ),
            f"{one.similarity:.0%}",
        )
        for one in near.examples
    ]


def _source(digest: str, validation: Validation) -> dict[str, str]:
    schema = validation.schema
    facts = {"documents": code(digest), "source": schema.source}
    if schema.files:
        facts["files"] = f"{schema.files:,}"
    if schema.text is not None:
        facts["column of the text"] = code(schema.text)
    if schema.label is not None:
        facts["column of the label"] = code(schema.label)
    return facts


def _short(number: int) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return str(number)
