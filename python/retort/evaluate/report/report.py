"""The report of a run: one HTML file with everything in it, the same bytes for the same run.

How long anything took is not reproducible, and stands on a page of its own (`timings_report`).
"""

from html import escape

from retort.core.report import code, facts_table, header, page, section, table, verdict
from retort.evaluate.language_metrics import LanguageMetrics
from retort.evaluate.metrics import Metrics
from retort.evaluate.report.classifier_plots import confusion_picture, reliability_picture
from retort.evaluate.report.document_facts import source_rows
from retort.evaluate.report.run_facts import RunFacts
from retort.evaluate.report.training_plots import evaluations_picture, training_curve

_SIDE_BY_SIDE = 8
"""Labels up to which the confusion matrix can be read at half the page's width."""


def render(run: RunFacts) -> str:
    """The report as HTML."""
    curve = training_curve(run.losses, run.rates, run.gradient_norms)
    sections = [section("Training", curve)]
    if run.evaluations:
        sections.append(section("Evaluations", _evaluations(run)))
    if isinstance(run.metrics, Metrics):
        sections += _classifier_sections(run.metrics)
    sections.append(section("Documents", facts_table(_document_rows(run))))
    identities = {name: code(digest) for name, digest in run.identities.items()}
    sections.append(section("Seal", facts_table(identities)))
    if run.beside:
        files = {code(name): escape(content) for name, content in run.beside.items()}
        sections.append(section("Beside this report", facts_table(files)))
    sections.append(section("Configuration", f"<pre>{escape(run.configuration)}</pre>"))
    return page(_title(run), _header(run), sections)


def _title(run: RunFacts) -> str:
    if isinstance(run.metrics, Metrics):
        return f"{run.name}: accuracy {run.metrics.accuracy:.1%}"
    return f"{run.name}: perplexity {run.metrics.perplexity:.2f}"


def _header(run: RunFacts) -> str:
    classifier = isinstance(run.metrics, Metrics)
    if run.failure is None:
        judged = verdict(
            "Verified: a fresh process found every digest right and the held-out "
            f"{'logits' if classifier else 'losses'} equal, bit for bit.",
            good=True,
        )
    else:
        judged = verdict(f"Failed: {run.failure}.", good=False)
    measured = (
        _classifier_figures(run.metrics)
        if isinstance(run.metrics, Metrics)
        else _language_figures(run.metrics)
    )
    figures = measured | {
        "optimiser steps": f"{len(run.losses):,}",
        f"{'documents' if classifier else 'blocks'} seen": f"{run.samples:,}",
        "parameters": run.size("M"),
    }
    about = f"Retort training run, checkpoint {code(run.checkpoint.seal[:19])}…"
    return header(run.name, about, judged, figures)


def _classifier_figures(metrics: Metrics) -> dict[str, str]:
    low, high = metrics.interval
    auc = "none" if metrics.macro_auc is None else f"{metrics.macro_auc:.4f}"
    return {
        f"accuracy, held out; 95 % interval {low:.1%} to {high:.1%}": f"{metrics.accuracy:.1%}",
        "macro-F1": f"{metrics.macro_f1:.3f}",
        "ROC-AUC, one label against the rest": auc,
        "expected calibration error": f"{metrics.calibration_error:.3f}",
        "loss, held out": f"{metrics.loss:.3f}",
    }


def _language_figures(metrics: LanguageMetrics) -> dict[str, str]:
    return {
        "perplexity, held out": f"{metrics.perplexity:,.2f}",
        "loss in nats a token": f"{metrics.loss:.4f}",
        "bits a token": f"{metrics.bits_per_token:.4f}",
        "tokens held out": f"{metrics.tokens:,}",
    }


def _evaluations(run: RunFacts) -> str:
    figures = [one.figures for one in run.evaluations]
    shares = [one["accuracy"] for one in figures if "accuracy" in one]
    return evaluations_picture(
        [one.step for one in run.evaluations],
        [one["loss"] for one in figures],
        shares or None,
        run.best_step,
    )


def _classifier_sections(metrics: Metrics) -> list[str]:
    labels = [label.label for label in metrics.labels]
    confusion = confusion_picture(metrics.confusion, labels)
    reliability = reliability_picture(metrics.bins)
    if len(labels) <= _SIDE_BY_SIDE:
        body = f'<div class="pair">{confusion}{reliability}</div>'
    else:
        body = f'{confusion}<div class="narrow">{reliability}</div>'
    return [
        section("Confusion and reliability", body),
        section("Labels", _labels_table(metrics)),
    ]


def _labels_table(metrics: Metrics) -> str:
    rows = [
        (
            escape(one.label),
            f"{one.precision:.3f}",
            f"{one.recall:.3f}",
            f"{one.f1:.3f}",
            "none" if one.auc is None else f"{one.auc:.4f}",
            f"{one.support:,}",
        )
        for one in metrics.labels
    ]
    auc = "none" if metrics.macro_auc is None else f"{metrics.macro_auc:.4f}"
    for name, mean, area in (
        ("mean of labels (macro)", metrics.macro, auc),
        ("of documents (micro)", metrics.micro, ""),
    ):
        numbers = (f"{mean.precision:.3f}", f"{mean.recall:.3f}", f"{mean.f1:.3f}")
        rows.append((f"<b>{name}</b>", *numbers, area, f"{metrics.documents:,}"))
    return table(("label", "precision", "recall", "F1", "ROC-AUC", "documents"), rows)


def _document_rows(run: RunFacts) -> dict[str, str]:
    rows = {} if run.data is None else source_rows(run.data)
    rows |= {
        "to learn from": f"{run.train_documents:,}",
        "held out": f"{run.held_out_documents:,}",
    }
    if run.tokens is not None:
        rows |= {
            f"longer than {run.tokens.max_tokens:,} tokens, cut": f"{run.tokens.truncated:,}",
            "tokens cut off": f"{run.tokens.dropped:,}",
        }
    return rows
