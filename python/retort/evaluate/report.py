"""The report of a run: one HTML file with everything in it, the same bytes for the same run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from retort.core.errors import SealError
from retort.core.report import code, facts_table, header, page, section, table, verdict
from retort.core.seal import Sealed
from retort.data.store import REPORT, VALIDATION
from retort.evaluate.metrics import Metrics
from retort.evaluate.plots import confusion_picture, loss_curve


@dataclass(frozen=True)
class DocumentFacts:
    """How many documents the source gave, and how many of them were not as one would wish."""

    documents: int
    duplicates: int
    ambiguous: int
    empty: int
    near_removed: int
    not_utf8: int


@dataclass(frozen=True)
class TokenFacts:
    """How much of the documents the model saw.

    Attributes:
        truncated: number of documents that were longer than `max_tokens`.
        dropped: number of tokens that were cut off them.
    """

    max_tokens: int
    truncated: int
    dropped: int


@dataclass(frozen=True)
class RunFacts:
    """All that a report shows. Nothing in it depends on the time or the machine's name."""

    name: str
    checkpoint: Sealed
    failure: str | None
    metrics: Metrics
    losses: Sequence[float]
    rates: Sequence[float]
    samples: int
    parameters: int
    train_documents: int
    data: DocumentFacts | None
    tokens: TokenFacts
    configuration: str


def document_facts(store: Sealed) -> DocumentFacts | None:
    """What a token store knows of its documents; None if it was not prepared from a source.

    Raises:
        SealError: its file of figures is another program's.
    """
    if all(file.path != VALIDATION for file in store.manifest.files):
        return None
    try:
        value = json.loads(store.read(VALIDATION))
        return DocumentFacts(
            documents=value["documents"],
            duplicates=value["duplicates"],
            ambiguous=value["ambiguous"],
            empty=value["empty"],
            near_removed=value["near_removed"],
            not_utf8=value["encodings"]["not_utf8"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SealError(
            f"{store.path / VALIDATION}: is not the figures of a corpus: {error!r}"
        ) from error


def render(run: RunFacts) -> str:
    """The report as HTML."""
    seal = run.checkpoint.seal
    labels = [label.label for label in run.metrics.labels]
    sections = (
        section("Loss", loss_curve(run.losses, run.rates)),
        section(
            "Confusion matrix",
            f'<div class="narrow">{confusion_picture(run.metrics.confusion, labels)}</div>',
        ),
        section("Labels", _labels_table(run.metrics)),
        section("Documents", facts_table(_document_rows(run))),
        section(
            "Seal",
            facts_table(
                {"checkpoint": code(seal)}
                | {name: code(digest) for name, digest in run.checkpoint.manifest.inputs.items()}
            ),
        ),
        section("Configuration", f"<pre>{escape(run.configuration)}</pre>"),
    )
    return page(f"{run.name}: accuracy {run.metrics.accuracy:.1%}", _header(run), sections)


def _header(run: RunFacts) -> str:
    metrics = run.metrics
    low, high = metrics.interval
    if run.failure is None:
        judged = verdict(
            "Verified: a fresh process found every digest right and the held-out logits equal, "
            "bit for bit.",
            good=True,
        )
    else:
        judged = verdict(f"Failed: {run.failure}.", good=False)
    figures = {
        f"accuracy, held out; 95 % interval {low:.1%} to {high:.1%}": f"{metrics.accuracy:.1%}",
        "macro-F1": f"{metrics.macro_f1:.3f}",
        "optimiser steps": f"{len(run.losses):,}",
        "documents seen": f"{run.samples:,}",
        "parameters": f"{run.parameters / 1e6:.1f} M",
    }
    about = f"Retort training run, checkpoint {code(run.checkpoint.seal[:19])}…"
    return header(run.name, about, judged, figures)


def _document_rows(run: RunFacts) -> dict[str, str]:
    tokens = run.tokens
    rows = {} if run.data is None else _source_rows(run.data)
    return rows | {
        "to learn from": f"{run.train_documents:,}",
        "held out": f"{run.metrics.documents:,}",
        f"longer than {tokens.max_tokens:,} tokens, cut": f"{tokens.truncated:,}",
        "tokens cut off": f"{tokens.dropped:,}",
    }


def _source_rows(data: DocumentFacts) -> dict[str, str]:
    return {
        "read from the source": f"{data.documents:,}",
        "not UTF-8": f"{data.not_utf8:,}",
        "empty, removed": f"{data.empty:,}",
        "exact duplicates, removed": f"{data.duplicates:,}",
        "same text with different labels, removed": f"{data.ambiguous:,}",
        "nearly the same as one held out, removed": f"{data.near_removed:,}",
        "more about them": f"{code(REPORT)} in the token store",
    }


def _labels_table(metrics: Metrics) -> str:
    return table(
        ("label", "precision", "recall", "F1", "documents"),
        [
            (
                escape(one.label),
                f"{one.precision:.3f}",
                f"{one.recall:.3f}",
                f"{one.f1:.3f}",
                f"{one.support:,}",
            )
            for one in metrics.labels
        ],
    )
