"""The report of a run: one HTML file with everything in it, the same bytes for the same run.

How long anything took is not reproducible, and stands on a page of its own (`timings_report`).
"""

from markupsafe import Markup

from retort.core.report import code, table
from retort.core.report import render as page
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
    sections = [("Training", training_curve(run.losses, run.rates, run.gradient_norms))]
    if run.evaluations:
        sections.append(("Evaluations", _evaluations(run)))
    if isinstance(run.metrics, Metrics):
        sections += _classifier_sections(run.metrics)
    return page(
        "retort.evaluate.report",
        "report.html",
        title=_title(run),
        name=run.name,
        verdicts=[_verdict(run)],
        figures=_figures(run),
        run=run,
        sections=sections,
        documents=_document_rows(run),
        identities={name: code(digest) for name, digest in run.identities.items()},
        beside={code(name): content for name, content in run.beside.items()},
    )


def _title(run: RunFacts) -> str:
    if isinstance(run.metrics, Metrics):
        return f"{run.name}: accuracy {run.metrics.accuracy:.1%}"
    return f"{run.name}: perplexity {run.metrics.perplexity:.2f}"


def _verdict(run: RunFacts) -> tuple[str, bool]:
    if run.failure is not None:
        return f"Failed: {run.failure}.", False
    equal = "logits" if isinstance(run.metrics, Metrics) else "losses"
    return (
        "Verified: a fresh process found every digest right and the held-out "
        f"{equal} equal, bit for bit."
    ), True


def _figures(run: RunFacts) -> dict[str, str]:
    if isinstance(run.metrics, Metrics):
        measured, seen = _classifier_figures(run.metrics), "documents"
    else:
        measured, seen = _language_figures(run.metrics), "blocks"
    return measured | {
        "optimiser steps": f"{len(run.losses):,}",
        f"{seen} seen": f"{run.samples:,}",
        "parameters": run.size("M"),
    }


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


def _evaluations(run: RunFacts) -> Markup:
    figures = [one.figures for one in run.evaluations]
    shares = [one["accuracy"] for one in figures if "accuracy" in one]
    return evaluations_picture(
        [one.step for one in run.evaluations],
        [one["loss"] for one in figures],
        shares or None,
        run.best_step,
    )


def _classifier_sections(metrics: Metrics) -> list[tuple[str, Markup]]:
    labels = [label.label for label in metrics.labels]
    confusion = confusion_picture(metrics.confusion, labels)
    reliability = reliability_picture(metrics.bins)
    pictures = (
        Markup('<div class="pair">{}{}</div>')
        if len(labels) <= _SIDE_BY_SIDE
        else Markup('{}<div class="narrow">{}</div>')
    )
    return [
        ("Confusion and reliability", pictures.format(confusion, reliability)),
        ("Labels", _labels_table(metrics)),
    ]


def _labels_table(metrics: Metrics) -> Markup:
    rows = [
        (
            one.label,
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
        rows.append((Markup("<b>{}</b>").format(name), *numbers, area, f"{metrics.documents:,}"))
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
