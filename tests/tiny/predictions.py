"""Logits and targets of any classifier, with ties, absent labels and great certainty."""

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Case:
    """Documents of a classifier: targets int64 [documents], logits float32 [documents, labels]."""

    targets: Tensor
    logits: Tensor
    labels: list[str]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Softmax of the logits, float64."""
        found: NDArray[np.float64] = self.logits.double().softmax(dim=1).numpy()
        return found


def _case(classes: int, rows: list[tuple[int, list[int]]]) -> Case:
    logits = torch.tensor([scores for _, scores in rows], dtype=torch.float32) / 4
    targets = torch.tensor([target for target, _ in rows])
    return Case(targets, logits, [f"label{number}" for number in range(classes)])


def _cases(classes: int) -> st.SearchStrategy[Case]:
    scores = st.lists(st.integers(-30, 30), min_size=classes, max_size=classes)
    rows = st.lists(st.tuples(st.integers(0, classes - 1), scores), min_size=1, max_size=60)
    return rows.map(lambda found: _case(classes, found))


CASES = st.integers(2, 5).flatmap(_cases)
"""Logits are quarters of small whole numbers, so that equal ones are frequent."""
