"""What an encoder gives: the token numbers of many texts in one array."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Encoded:
    """The token numbers of some texts.

    Attributes:
        ids: of all texts, one after the other.
        lengths: int64 [texts], how many each text has.
    """

    ids: NDArray[Any]
    lengths: NDArray[np.int64]

    def split(self) -> list[NDArray[Any]]:
        """Those of each text."""
        return np.split(self.ids, np.cumsum(self.lengths)[:-1]) if len(self.lengths) else []

    def with_boundaries(self, boundary: int) -> NDArray[Any]:
        """Those of all texts, each followed by `boundary`."""
        slots = np.full(len(self.ids) + len(self.lengths), boundary, self.ids.dtype)
        is_token = np.ones(len(slots), np.bool_)
        is_token[np.cumsum(self.lengths + 1) - 1] = False
        slots[is_token] = self.ids
        return slots
