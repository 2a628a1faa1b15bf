"""How far a run has come: `progress.json` of a checkpoint, all of it the same on every machine."""

import dataclasses
import json
from dataclasses import asdict, dataclass
from typing import Any

from retort.core.digest import canonical_json
from retort.core.errors import SealError
from retort.evaluate.report.run_facts import Evaluation
from retort.train.recipe import EvaluateConfig

_FORMAT = 2


@dataclass(frozen=True)
class ProgressRecord:
    """
    Attributes:
        step: how many optimiser steps were made; it is also the whole state of the reader.
        evaluations: in order.
        losses: of the last steps, by which the next is judged.
        metrics: the digest of the lines of metrics.jsonl; see `metrics_file.with_line`.
    """

    step: int = 0
    evaluations: tuple[Evaluation, ...] = ()
    losses: tuple[float, ...] = ()
    metrics: str = ""

    def to_bytes(self) -> bytes:
        """As canonical JSON."""
        return canonical_json({"format": _FORMAT, **asdict(self)})

    @classmethod
    def from_bytes(cls, content: bytes) -> "ProgressRecord":
        """
        Raises:
            SealError: this is not what `to_bytes` gives.
        """
        try:
            value: dict[str, Any] = json.loads(content)
            if value["format"] != _FORMAT:
                raise ValueError(f"format {value['format']!r}; this program reads {_FORMAT}")
            return cls(
                step=int(value["step"]),
                evaluations=tuple(Evaluation(**one) for one in value["evaluations"]),
                losses=tuple(value["losses"]),
                metrics=str(value["metrics"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise SealError(f"progress.json: is not the progress of a run: {error!r}") from error

    def with_evaluation(self, evaluation: Evaluation) -> "ProgressRecord":
        """The same with one evaluation more."""
        return dataclasses.replace(self, evaluations=(*self.evaluations, evaluation))

    def best(self, config: EvaluateConfig) -> Evaluation | None:
        """The best evaluation by the recipe's metric; of equal ones the first."""
        sign = -1.0 if config.lower_is_better else 1.0
        return max(
            self.evaluations, key=lambda one: sign * one.figures[config.metric], default=None
        )

    def selected(self, config: EvaluateConfig) -> int:
        """The step whose weights are the result of a run that ends here."""
        best = self.best(config)
        return self.step if config.select == "last" or best is None else best.step

    def should_stop(self, config: EvaluateConfig) -> bool:
        """Whether the last `patience` evaluations were all no better than the best before."""
        best = self.best(config)
        if config.patience is None or best is None:
            return False
        since = sum(one.step > best.step for one in self.evaluations)
        return since >= config.patience
