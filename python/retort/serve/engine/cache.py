"""Answers that are known: of the same model and the same tokens they have the same bits, so none is computed twice."""

import hashlib
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from retort.serve.engine.engine import Done
from retort.serve.engine.shared_answers import SharedAnswers


class AnswerCache:
    """Answers of one model: those that were asked for last in memory, and others with other servers.

    Used in the event loop's thread alone.

    Attributes:
        done: where it counts.
    """

    def __init__(
        self,
        model: str,
        labels: int,
        entries: int,
        done: Done,
        shared: SharedAnswers | None = None,
    ) -> None:
        """
        Args:
            model: its seal, and whatever else its answers depend on.
            labels: how many probabilities an answer has.
            entries: answers that are kept in memory; with 0 nothing is, here or elsewhere.
            done: where to count.
            shared: behind it, if there is one.
        """
        self._model, self._labels, self._most = model.encode(), labels, entries
        self._answers: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._shared = shared if entries else None
        self.done = done

    def key(self, ids: NDArray[np.int64]) -> bytes:
        """Under which the answer to a text is kept, by its token numbers."""
        return hashlib.sha256(self._model + b"\0" + ids.tobytes()).digest()

    async def get(self, key: bytes) -> NDArray[np.float32] | None:
        """The probabilities of an answer, float32 [labels], if they are known."""
        if not self._most:
            return None
        found = self._answers.get(key)
        if found is not None:
            self._answers.move_to_end(key)
            self.done.known += 1
            return found
        if self._shared is not None:
            found = await self._shared.get(key, self._labels)
            if found is not None:
                self.done.shared += 1
                self._keep(key, found)
                return found
        self.done.missed += 1
        return None

    def put(self, key: bytes, probabilities: NDArray[np.float32]) -> None:
        """Have an answer known."""
        if not self._most:
            return
        self._keep(key, probabilities.copy())
        if self._shared is not None:
            self._shared.put(key, probabilities)

    def _keep(self, key: bytes, probabilities: NDArray[np.float32]) -> None:
        self._answers[key] = probabilities
        self._answers.move_to_end(key)
        while len(self._answers) > self._most:
            self._answers.popitem(last=False)
