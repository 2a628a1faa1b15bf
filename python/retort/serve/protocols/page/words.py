"""Which words of a text its label hangs on: how much less probable it is without each.

Li, Monroe and Jurafsky, "Understanding Neural Networks through Representation Erasure", 2016.
"""

import re
from dataclasses import dataclass, replace

from retort.serve.engine.engine import (
    Answer,
    InferenceEngine,
    NothingToRead,
    Priority,
    Terms,
)
from retort.serve.protocols.together import together

MOST = 48
"""Parts that are left out by turns; of a longer text, each is several words."""
_WORDS = re.compile(r"\S+|\s+")


@dataclass(frozen=True)
class Part:
    """Some words of a text, or what is between them.

    Attributes:
        weight: by how much the label's probability falls without it, -1 to 1; None of what is between words.
    """

    text: str
    weight: float | None


async def explain(
    engine: InferenceEngine, text: str, answer: Answer, terms: Terms
) -> tuple[Part, ...]:
    """The parts of a text, in their order.

    Args:
        answer: to the text.
        terms: of the request; what is asked here is behind what others ask.
    Raises:
        EngineError: the engine answers none.
    """
    best = answer.probabilities.index(max(answer.probabilities))
    pieces = pieces_of(text)
    behind = replace(terms, priority=Priority.LOW)

    async def weight(number: int) -> float:
        rest = "".join(pieces[:number] + pieces[number + 1 :])
        try:
            without = await engine.predict(rest, behind)
        except NothingToRead:
            return answer.confidence
        return answer.confidence - without.probabilities[best]

    numbers = [number for number, piece in enumerate(pieces) if not piece.isspace()]
    weights = dict(zip(numbers, await together(map(weight, numbers)), strict=True))
    return tuple(Part(piece, weights.get(number)) for number, piece in enumerate(pieces))


def pieces_of(text: str) -> list[str]:
    """Words, and what is between them; at most `MOST` are words, as neighbours become one where there are more."""
    pieces: list[str] = _WORDS.findall(text)
    words = sum(not piece.isspace() for piece in pieces)
    if words <= MOST:
        return pieces
    each = -(-words // MOST)
    found, inside = [""], 0
    for piece in pieces:
        if piece.isspace() and inside in (0, each):
            found += [piece, ""]
            inside = 0
        else:
            found[-1] += piece
            inside += not piece.isspace()
    return [piece for piece in found if piece]
