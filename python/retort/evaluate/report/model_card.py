"""The model card of a run: a README.md as the model hub reads it, the same bytes for the same run.

The front matter follows huggingface.co/docs/hub/model-cards; the questions answered are those of
Mitchell et al. 2019, "Model Cards for Model Reporting".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from retort.evaluate.metrics import Metrics
from retort.evaluate.report.run_facts import RunFacts


@dataclass(frozen=True)
class CardFacts:
    """What a model card tells.

    Attributes:
        dataset: what the documents are called, such as `bbc_news`.
        base_model: whose weights were fine-tuned, a repository of the hub, a package, or the name of
            a directory; None for a model from scratch.
        procedure: what decides the training, by name, such as steps, batch and learning rate.
        verify: the command that verifies the checkpoint, with `RUN` for the run's directory.
    """

    run: RunFacts
    dataset: str
    base_model: str | None
    verify: str
    procedure: Mapping[str, str] = field(default_factory=dict)


def model_card(facts: CardFacts) -> str:
    """The card as Markdown with YAML front matter."""
    front = yaml.safe_dump(_front_matter(facts), sort_keys=False, allow_unicode=True)
    parts = [f"# {_text(facts.run.name)}", _summary(facts)]
    for title, body in (
        ("Intended use", _intended_use(facts)),
        ("Data", _data(facts)),
        ("Training", _table(("setting", "value"), list(facts.procedure.items()))),
        ("Evaluation", _evaluation(facts.run)),
        ("Limitations", _limitations(facts)),
        ("How to verify", _verification(facts)),
    ):
        parts.append(f"## {title}\n\n{body}")
    return f"---\n{front}---\n\n" + "\n\n".join(parts) + "\n"


def _front_matter(facts: CardFacts) -> dict[str, Any]:
    metrics = facts.run.metrics
    if isinstance(metrics, Metrics):
        task, tags = "text-classification", ["text-classification"]
        measured: dict[str, float | None] = {
            "accuracy": metrics.accuracy,
            "f1": metrics.macro_f1,
            "roc_auc": metrics.macro_auc,
            "expected_calibration_error": metrics.calibration_error,
        }
    else:
        task, tags = "text-generation", ["text-generation", "causal-lm"]
        measured = {"perplexity": metrics.perplexity, "loss": metrics.loss}
    known = {name: value for name, value in measured.items() if value is not None}
    result = {
        "task": {"type": task},
        "dataset": {"name": facts.dataset, "type": facts.dataset, "split": "held_out"},
        "metrics": [{"type": name, "value": round(value, 6)} for name, value in known.items()],
    }
    return {
        "library_name": "retort",
        "pipeline_tag": task,
        "tags": ["retort", "reproducible", *tags],
        **({} if facts.base_model is None else {"base_model": facts.base_model}),
        "metrics": list(known),
        "model-index": [{"name": facts.run.name, "results": [result]}],
    }


def _summary(facts: CardFacts) -> str:
    run = facts.run
    size = f"{run.size('million')} parameters"
    if isinstance(run.metrics, Metrics):
        low, high = run.metrics.interval
        start = "" if facts.base_model is None else f", fine-tuned from `{facts.base_model}`"
        return (
            f"A text classifier of {len(run.metrics.labels)} labels and {size}{start}. "
            f"Accuracy on {run.metrics.documents:,} held-out documents: "
            f"**{run.metrics.accuracy:.1%}** (95 % interval {low:.1%} to {high:.1%})."
        )
    return (
        f"A causal language model of {size}, trained from scratch. Perplexity on "
        f"{run.metrics.tokens:,} held-out tokens: **{run.metrics.perplexity:,.2f}**."
    )


def _intended_use(facts: CardFacts) -> str:
    metrics = facts.run.metrics
    if isinstance(metrics, Metrics):
        labels = ", ".join(_text(one.label) for one in metrics.labels)
        return (
            f"To give texts like those of `{facts.dataset}` one of the labels {labels}. It gives "
            "every text one of them, also a text that none of them fits."
        )
    return (
        f"Research on language models and on texts like those of `{facts.dataset}`. It was not "
        "taught to follow instructions or to refuse any."
    )


def _data(facts: CardFacts) -> str:
    run = facts.run
    rows = [
        ("to learn from", f"{run.train_documents:,}"),
        ("held out, by the hash of the text or by the source", f"{run.held_out_documents:,}"),
    ]
    if run.data is not None:
        rows += [
            ("exact duplicates, removed", f"{run.data.duplicates:,}"),
            ("same text with different labels, removed", f"{run.data.ambiguous:,}"),
            ("nearly the same as one held out, removed", f"{run.data.near_removed:,}"),
        ]
    if run.tokens is not None:
        rows.append(
            (f"longer than {run.tokens.max_tokens:,} tokens, cut", f"{run.tokens.truncated:,}")
        )
    return f"`{facts.dataset}`, sealed as `{run.identities.get('token store')}`.\n\n" + _table(
        ("documents", "number"), rows
    )


def _evaluation(run: RunFacts) -> str:
    metrics = run.metrics
    if not isinstance(metrics, Metrics):
        return _table(
            ("figure", "value"),
            [
                ("perplexity", f"{metrics.perplexity:,.4f}"),
                ("loss, nats a token", f"{metrics.loss:.4f}"),
                ("bits a token", f"{metrics.bits_per_token:.4f}"),
                ("tokens", f"{metrics.tokens:,}"),
            ],
        )
    low, high = metrics.interval
    figures = _table(
        ("figure", "value"),
        [
            ("accuracy", f"{metrics.accuracy:.4f}"),
            ("95 % interval (Wilson)", f"{low:.4f} to {high:.4f}"),
            ("macro-F1", f"{metrics.macro_f1:.4f}"),
            ("ROC-AUC, one label against the rest", _area(metrics.macro_auc)),
            ("expected calibration error, 15 bins", f"{metrics.calibration_error:.4f}"),
            ("negative log-likelihood", f"{metrics.loss:.4f}"),
        ],
    )
    labels = _table(
        ("label", "precision", "recall", "F1", "ROC-AUC", "documents"),
        [
            (
                _text(one.label),
                f"{one.precision:.4f}",
                f"{one.recall:.4f}",
                f"{one.f1:.4f}",
                _area(one.auc),
                f"{one.support:,}",
            )
            for one in metrics.labels
        ],
    )
    return f"{figures}\n\n{labels}"


def _limitations(facts: CardFacts) -> str:
    points = [
        f"Measured on documents of the same source, `{facts.dataset}`, alone: other texts, times, "
        "topics and languages may fare worse.",
        "What the source holds of errors and prejudice was learned with the rest.",
    ]
    metrics = facts.run.metrics
    if isinstance(metrics, Metrics):
        weakest = min(metrics.labels, key=lambda one: (one.f1, one.label))
        points.append(
            f"Its weakest label is {_text(weakest.label)}, with F1 {weakest.f1:.3f} on "
            f"{weakest.support:,} documents."
        )
        points.append(
            "Its probabilities are as the model gives them, not calibrated afterwards; they are "
            f"off by {metrics.calibration_error:.3f} on the mean."
        )
    else:
        points.append("What it writes may be false, however fluent.")
    if facts.run.tokens is not None:
        points.append(f"Of each text it reads the first {facts.run.tokens.max_tokens:,} tokens.")
    return "\n".join(f"- {point}" for point in points)


def _verification(facts: CardFacts) -> str:
    if facts.run.failure is None:
        result = "A fresh process has done so after training."
    else:
        result = f"**A fresh process has done so after training, and failed: {facts.run.failure}.**"
    identities = [(name, f"`{digest}`") for name, digest in facts.run.identities.items()]
    return (
        "The same recipe, data and locked packages on the same kind of processor give the same "
        "seal. Typed in a checkout of Retort, with `RUN` as the directory of this file, this checks "
        "every digest and computes the held-out results again, bit for bit:\n\n"
        f"```sh\nRUN=.\n{facts.verify}\n```\n\n{result}\n\n"
        + _table(("what", "identity"), identities)
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _text(text: str) -> str:
    """Text that Markdown takes for nothing else."""
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]<>#|$~" else letter for letter in text)


def _area(auc: float | None) -> str:
    return "none" if auc is None else f"{auc:.4f}"
