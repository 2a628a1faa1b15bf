"""The report of a corpus, beside what is made of it."""

import json
from collections.abc import Sequence
from html import escape

from retort.core.report import code, facts_table, header, page, section, table, verdict
from retort.data.config import seal_settings
from retort.data.corpus.corpus import Corpus
from retort.data.corpus.plots import labels_picture, lengths_picture
from retort.data.corpus.validation import Lengths, Rows, SpecialTokensInTexts, Validation
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
    validation, name = corpus.validation, corpus.config.source
    settings = json.dumps(seal_settings(corpus.config), indent=2, ensure_ascii=False)
    sections = [section("Length", _lengths(validation))]
    if validation.labels:
        sections.append(section("Labels", _labels(validation)))
    sections.append(section("Documents", facts_table(_counts(validation))))
    encodings, rows, special = validation.encodings, validation.rows, validation.special
    if encodings.places:
        sections.append(section("Not UTF-8", _places(encodings.places, encodings.not_utf8)))
    if special is not None and special.documents:
        sections.append(section("Special tokens in texts", _special(special)))
    if rows.dropped:
        sections.append(section("Bad rows", _bad_rows(rows)))
    if rows.files_left_out:
        left_out = {escape(why): f"{count:,}" for why, count in rows.files_left_out.items()}
        sections.append(section("Files left out", facts_table(left_out)))
    if validation.near_duplicates is not None:
        sections.append(section("Near-duplicates", _near(validation.near_duplicates)))
    sections.append(section("Source", facts_table(_source(corpus.digest, validation))))
    sections.append(section("Configuration", f"<pre>{escape(settings)}</pre>"))
    return page(
        f"{name}: {_kept(validation):,} documents",
        _header(name, corpus.digest, validation),
        sections,
    )


def _kept(validation: Validation) -> int:
    return validation.train + validation.held_out


def _header(name: str, digest: str, validation: Validation) -> str:
    judged = verdict(
        f"No text that is held out is also learned from: {_COMPARED[validation.tokens is None]}.",
        good=True,
    )
    judged += "".join(verdict(f"Look at this: {one}.", good=False) for one in validation.warnings)
    unit, lengths = _lengths_shown(validation)
    figures = {
        "to learn from": f"{validation.train:,}",
        "held out": f"{validation.held_out:,}",
        unit: _short(lengths.total),
        f"{unit} in a document, median": f"{lengths.quantiles['0.5']:,}",
    }
    if validation.labels:
        figures["labels"] = f"{len(validation.labels):,}"
    return header(name, f"Retort corpus, documents {code(digest[:19])}…", judged, figures)


def _lengths(validation: Validation) -> str:
    unit, lengths = _lengths_shown(validation)
    rows = [_length_row("characters", validation.characters)]
    if validation.tokens is not None:
        rows.insert(0, _length_row("tokens", validation.tokens))
    shares = [f"{float(share):.0%}" for share in lengths.quantiles]
    return lengths_picture(lengths, unit) + table(
        ("", "shortest", *shares, "longest", "mean"), rows
    )


def _lengths_shown(validation: Validation) -> tuple[str, Lengths]:
    if validation.tokens is None:
        return "characters", validation.characters
    return "tokens", validation.tokens


def _length_row(name: str, lengths: Lengths) -> tuple[str, ...]:
    whole = (lengths.minimum, *lengths.quantiles.values(), lengths.maximum)
    return (name, *(f"{one:,}" for one in whole), f"{lengths.mean:,.1f}")


def _labels(validation: Validation) -> str:
    total = _kept(validation)
    rows = [
        (
            escape(printable(one.label)),
            f"{one.train:,}",
            f"{one.held_out:,}",
            f"{(one.train + one.held_out) / total:.1%}",
        )
        for one in validation.labels
    ]
    picture = labels_picture(validation.labels) if len(rows) <= _DRAWN else ""
    return picture + table(("label", "to learn from", "held out", "share"), rows)


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


def _places(places: Sequence[Place], count: int) -> str:
    rows = [_place(one) for one in places[:_LISTED]]
    return table(("file", "row", "offset of the first byte"), rows) + _more(count - len(rows))


def _special(special: SpecialTokensInTexts) -> str:
    times = {code(token): f"{count:,}" for token, count in special.tokens.items()}
    return facts_table(times) + _places(special.places, special.documents)


def _bad_rows(rows: Rows) -> str:
    reasons = {escape(why): f"{count:,}" for why, count in rows.dropped.items()}
    listed = [(*_place(one.place), escape(one.reason)) for one in rows.places[:_LISTED]]
    more = _more(sum(rows.dropped.values()) - len(listed))
    return facts_table(reasons) + table(("file", "row", "offset", "reason"), listed) + more


def _place(place: Place) -> tuple[str, str, str]:
    offset = "" if place.offset is None else f"{place.offset:,}"
    return code(place.file), f"{place.row or ''}", offset


def _more(count: int) -> str:
    return f'<p class="soft">and {count:,} more</p>' if count else ""


def _near(near: NearDuplicates) -> str:
    facts = facts_table(
        {
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
    )
    rows = [
        (
            f"{one.first_part.replace('_', ' ')} {one.first:,}: {escape(one.first_text)}<br>"
            f"{one.second_part.replace('_', ' ')} {one.second:,}: {escape(one.second_text)}",
            f"{one.similarity:.0%}",
        )
        for one in near.examples
    ]
    return facts + (table(("pair: part, number, first words", "similarity"), rows) if rows else "")


def _source(digest: str, validation: Validation) -> dict[str, str]:
    schema = validation.schema
    facts = {"documents": code(digest), "source": escape(schema.source)}
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
