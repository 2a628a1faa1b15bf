"""The report of a run: one HTML file with everything in it, the same bytes for the same run.

How long anything took is not reproducible, and stands on a page of its own (`timings_report`).
"""

from markupsafe import Markup

from retort.core.report import code
from retort.core.report import render as page
from retort.evaluate.report.document_facts import source_rows
from retort.evaluate.report.run_facts import RunFacts
from retort.evaluate.report.training_plots import evaluations_picture, training_curve


def render(run: RunFacts) -> str:
    """The report as HTML."""
    sections = [("Training", training_curve(run.losses, run.rates, run.gradient_norms))]
    if run.evaluations:
        sections.append(("Evaluations", _evaluations(run)))
    sections += run.results.sections()
    return page(
        "retort.evaluate.report",
        "report.html",
        title=f"{run.name}: {run.results.headline}",
        name=run.name,
        verdicts=[_verdict(run)],
        figures=_figures(run),
        run=run,
        sections=sections,
        documents=_document_rows(run),
        identities={name: code(digest) for name, digest in run.identities.items()},
        beside={code(name): content for name, content in run.beside.items()},
    )


def _verdict(run: RunFacts) -> tuple[str, bool]:
    if run.failure is not None:
        return f"Failed: {run.failure}.", False
    return (
        "Verified: a fresh process found every digest right and the held-out "
        f"{run.results.results} equal, bit for bit."
    ), True


def _figures(run: RunFacts) -> dict[str, str]:
    return run.results.cards() | {
        "optimiser steps": f"{len(run.losses):,}",
        f"{run.results.samples} seen": f"{run.samples:,}",
        "parameters": run.size("M"),
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
