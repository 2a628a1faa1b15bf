"""The report of a run: one HTML file with everything in it, the same bytes for the same run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from retort.core.seal import Sealed
from retort.data.dataset import DataFacts
from retort.evaluate.metrics import Metrics
from retort.evaluate.plots import confusion_picture, loss_curve

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --soft: #5d6677; --page: #ffffff;
  --card: #f4f6fa; --line: #dde2ea; --good: #1d7f4e; --bad: #c33636; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaf0; --soft: #9aa4b5; --page: #14171d;
  --card: #1d222b; --line: #323946; --good: #4cc38a; --bad: #ff7b7b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .7rem; }
.soft { color: var(--soft); margin: .2rem 0 0; }
.verdict { font-weight: 600; margin: .8rem 0; } .good { color: var(--good); }
.bad { color: var(--bad); }
.cards { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: .7rem .9rem; }
.card b { display: block; font-size: 1.4rem; white-space: nowrap; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: .85rem; }
svg { width: 100%; height: auto; display: block; } .narrow { max-width: 36rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; } th { color: var(--soft); font-weight: 600; }
code, pre { font: .85rem/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
code { overflow-wrap: anywhere; } td code { display: inline-block; max-width: 44rem; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: .8rem 1rem; overflow-x: auto; margin: 0; }
"""


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
    data: DataFacts
    tokens: TokenFacts
    configuration: str


def render(run: RunFacts) -> str:
    """The report as HTML."""
    seal = run.checkpoint.seal
    labels = [label.label for label in run.metrics.labels]
    sections = (
        _section("Loss", loss_curve(run.losses, run.rates)),
        _section(
            "Confusion matrix",
            f'<div class="narrow">{confusion_picture(run.metrics.confusion, labels)}</div>',
        ),
        _section("Labels", _labels_table(run.metrics)),
        _section("Documents", _facts_table(_document_facts(run))),
        _section(
            "Seal",
            _facts_table(
                {"checkpoint": _code(seal)}
                | {name: _code(digest) for name, digest in run.checkpoint.manifest.inputs.items()}
            ),
        ),
        _section("Configuration", f"<pre>{escape(run.configuration)}</pre>"),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(run.name)}: accuracy {run.metrics.accuracy:.1%}</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{_header(run)}\n"
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def _header(run: RunFacts) -> str:
    metrics = run.metrics
    low, high = metrics.interval
    if run.failure is None:
        verdict = (
            '<p class="verdict good">Verified: a fresh process found every digest right and the '
            "held-out logits equal, bit for bit.</p>"
        )
    else:
        verdict = f'<p class="verdict bad">Failed: {escape(run.failure)}.</p>'
    cards = {
        f"accuracy, held out; 95 % interval {low:.1%} to {high:.1%}": f"{metrics.accuracy:.1%}",
        "macro-F1": f"{metrics.macro_f1:.3f}",
        "optimiser steps": f"{len(run.losses):,}",
        "documents seen": f"{run.samples:,}",
        "parameters": f"{run.parameters / 1e6:.1f} M",
    }
    figures = "".join(
        f'<div class="card"><b>{figure}</b><span>{name}</span></div>'
        for name, figure in cards.items()
    )
    return (
        f"<header>\n<h1>{escape(run.name)}</h1>\n"
        f'<p class="soft">Retort training run, checkpoint {_code(run.checkpoint.seal[:19])}…</p>\n'
        f'{verdict}\n<div class="cards">{figures}</div>\n</header>'
    )


def _document_facts(run: RunFacts) -> dict[str, str]:
    data, tokens = run.data, run.tokens
    return {
        "read from the source": f"{data.documents:,}",
        "exact duplicates, removed": f"{data.duplicates:,}",
        "same text with different labels, removed": f"{data.ambiguous:,}",
        "empty, removed": f"{data.empty:,}",
        "not UTF-8, read as Latin-1": f"{data.not_utf8:,}",
        "to learn from": f"{run.train_documents:,}",
        "held out": f"{run.metrics.documents:,}",
        f"longer than {tokens.max_tokens:,} tokens, cut": f"{tokens.truncated:,}",
        "tokens cut off": f"{tokens.dropped:,}",
    }


def _labels_table(metrics: Metrics) -> str:
    rows = "".join(
        f"<tr><td>{escape(one.label)}</td><td>{one.precision:.3f}</td><td>{one.recall:.3f}</td>"
        f"<td>{one.f1:.3f}</td><td>{one.support:,}</td></tr>"
        for one in metrics.labels
    )
    return (
        '<div class="scroll"><table><thead><tr><th>label</th><th>precision</th><th>recall</th>'
        f"<th>F1</th><th>documents</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _facts_table(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in facts.items())
    return f'<div class="scroll"><table><tbody>{rows}</tbody></table></div>'


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{body}\n</section>"


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
