"""The model card of a run: a README.md as the model hub reads it, the same bytes for the same run.

The front matter follows huggingface.co/docs/hub/model-cards; the questions answered are those of
Mitchell et al. 2019, "Model Cards for Model Reporting".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from retort.evaluate.report.markdown import md_table, md_text
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
        portable: whether it was computed in portable arithmetic.
    """

    run: RunFacts
    dataset: str
    base_model: str | None
    verify: str
    procedure: Mapping[str, str] = field(default_factory=dict)
    portable: bool = False


def model_card(facts: CardFacts) -> str:
    """The card as Markdown with YAML front matter."""
    front = yaml.safe_dump(_front_matter(facts), sort_keys=False, allow_unicode=True)
    run, results = facts.run, facts.run.results
    size = f"{run.size('million')} parameters"
    parts = [f"# {md_text(run.name)}", results.summary(size, facts.base_model)]
    for title, body in (
        ("Intended use", results.intended_use(facts.dataset)),
        ("Data", _data(facts)),
        ("Training", md_table(("setting", "value"), list(facts.procedure.items()))),
        ("Evaluation", results.evaluation()),
        ("Limitations", _limitations(facts)),
        ("How to verify", _verification(facts)),
    ):
        parts.append(f"## {title}\n\n{body}")
    return f"---\n{front}---\n\n" + "\n\n".join(parts) + "\n"


def _front_matter(facts: CardFacts) -> dict[str, Any]:
    results = facts.run.results
    known = {name: value for name, value in results.hub_metrics().items() if value is not None}
    measured = {
        "task": {"type": results.pipeline_tag},
        "dataset": {"name": facts.dataset, "type": facts.dataset, "split": "held_out"},
        "metrics": [{"type": name, "value": round(value, 6)} for name, value in known.items()],
    }
    return {
        "library_name": "retort",
        "pipeline_tag": results.pipeline_tag,
        "tags": ["retort", "reproducible", *results.tags],
        **({} if facts.base_model is None else {"base_model": facts.base_model}),
        "metrics": list(known),
        "model-index": [{"name": facts.run.name, "results": [measured]}],
    }


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
    return f"`{facts.dataset}`, sealed as `{run.identities.get('token store')}`.\n\n" + md_table(
        ("documents", "number"), rows
    )


def _limitations(facts: CardFacts) -> str:
    points = [
        f"Measured on documents of the same source, `{facts.dataset}`, alone: other texts, times, "
        "topics and languages may fare worse.",
        "What the source holds of errors and prejudice was learned with the rest.",
    ]
    points += facts.run.results.limitations()
    if facts.run.tokens is not None:
        points.append(f"Of each text it reads the first {facts.run.tokens.max_tokens:,} tokens.")
    return "\n".join(f"- {point}" for point in points)


def _verification(facts: CardFacts) -> str:
    if facts.run.failure is None:
        result = "A fresh process has done so after training."
    else:
        result = f"**A fresh process has done so after training, and failed: {facts.run.failure}.**"
    identities = [(name, f"`{digest}`") for name, digest in facts.run.identities.items()]
    where = "on every processor" if facts.portable else "on the same kind of processor"
    return (
        f"The same recipe, data and locked packages give the same seal {where}. Typed in a "
        "checkout of Retort, with `RUN` as the directory of this file, this checks every digest "
        "and computes the held-out results again, bit for bit:\n\n"
        f"```sh\nRUN=.\n{facts.verify}\n```\n\n{result}\n\n"
        + md_table(("what", "identity"), identities)
    )
