"""What is known of a finished run, for its report and its model card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from retort.core.seal import Sealed
from retort.evaluate.report.document_facts import DocumentFacts, TokenFacts
from retort.evaluate.report.presentation import Presentation


@dataclass(frozen=True)
class Evaluation:
    """What was measured on held-out documents after so many optimiser steps.

    Attributes:
        figures: by name, as `Measured.figures` gives them.
    """

    step: int
    figures: Mapping[str, float]


@dataclass(frozen=True)
class RunFacts:
    """All that a report shows. Nothing in it depends on the time or the machine's name.

    Attributes:
        failure: why the run is not good enough, if it is not.
        losses, rates, gradient_norms: one of each optimiser step.
        samples: documents seen by a classifier, blocks by a language model, repeats counted.
        train_documents, held_out_documents: in the token store.
        tokens: None for a language model, which is given every token.
        configuration: the resolved recipe as YAML.
        evaluations: during training, in order; best_step: the one of them that was the best.
        lock: digest of the locked packages; commit: of the source.
        beside: files in the run's directory, and what is in them.
    """

    name: str
    checkpoint: Sealed
    failure: str | None
    results: Presentation
    losses: Sequence[float]
    rates: Sequence[float]
    gradient_norms: Sequence[float]
    samples: int
    parameters: int
    train_documents: int
    held_out_documents: int
    data: DocumentFacts | None
    tokens: TokenFacts | None
    configuration: str
    evaluations: Sequence[Evaluation] = ()
    best_step: int | None = None
    lock: str | None = None
    commit: str | None = None
    beside: Mapping[str, str] = field(default_factory=dict)

    def size(self, million: str) -> str:
        """How many parameters: exactly, or in millions with that word behind."""
        if self.parameters < 1e6:
            return f"{self.parameters:,}"
        return f"{self.parameters / 1e6:,.1f} {million}"

    @property
    def identities(self) -> dict[str, str]:
        """Digests of the checkpoint and of all that it was made from, by what they are of."""
        inputs = {
            _INPUTS.get(name, name): digest
            for name, digest in self.checkpoint.manifest.inputs.items()
        }
        known = {"locked packages": self.lock, "source commit": self.commit}
        return (
            {"checkpoint": self.checkpoint.seal}
            | inputs
            | {name: value for name, value in known.items() if value is not None}
        )


_INPUTS = {"tokens": "token store", "weights": "pretrained weights"}
