"""What answers requests. The protocols in front know no more of a model than this."""

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol


class EngineError(Exception):
    """A request was not answered; the message may be shown to whoever asked."""


class Overloaded(EngineError):
    """As much waits as may wait; the same request can succeed later."""


class TooMany(EngineError):
    """A client has as many texts here as it may; the same request can succeed later."""


class Expired(EngineError):
    """The request's deadline passed before it was answered."""


class NothingToRead(EngineError):
    """The text has nothing in it that the model could read; it never will."""


class TooLong(EngineError):
    """The text has more tokens than the model reads, and may not be cut."""


class PredictionFailed(EngineError):
    """The model failed on this request; others are not touched."""


class EngineStopped(EngineError):
    """Nothing computes any more, or not yet again: the engine was closed, or what computed has died."""


class Priority(IntEnum):
    """Who is computed first, when more waits than can be computed at once."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


@dataclass(frozen=True)
class Terms:
    """On which a text is to be answered.

    Attributes:
        client: whose share of the queue it takes: what one client sends does not delay another's.
        priority: no text is computed while one of a higher priority waits.
        deadline: after which nobody wants the answer, in seconds of `time.monotonic`.
    """

    client: str = ""
    priority: Priority = Priority.NORMAL
    deadline: float = math.inf


NO_TERMS = Terms()


@dataclass(frozen=True)
class Answer:
    """What the model says of a text.

    Attributes:
        label: the most probable one, or `unknown` where that is not sure enough.
        confidence: the highest probability, a float32.
        probabilities: of every label.
        labels: of the model, in the same order.
        tokens: how many the model has read, special ones included.
        truncated: whether the text had more.
    """

    label: str
    confidence: float
    probabilities: tuple[float, ...]
    labels: tuple[str, ...]
    tokens: int
    truncated: bool

    @property
    def by_label(self) -> dict[str, float]:
        """The probability of each label."""
        return dict(zip(self.labels, self.probabilities, strict=True))


@dataclass(frozen=True)
class Load:
    """What an engine has to do.

    Attributes:
        reading: texts whose tokens are being found.
        texts, tokens: that wait.
        workers: that are there.
        computing: of these.
    """

    reading: int
    texts: int
    tokens: int
    workers: int
    computing: int


@dataclass
class Done:
    """What an engine has done so far.

    Attributes:
        texts, tokens: that were computed.
        batches: in which they were.
        truncated: texts of which the model has read only a part.
        workers_lost: that died, or were ended because they were stuck.
        known, shared: texts whose answer was in memory, or was another server's.
        missed: whose answer was in neither.
        store_failures: times that other servers' answers could not be asked for.
    """

    texts: int = 0
    tokens: int = 0
    batches: int = 0
    truncated: int = 0
    workers_lost: int = 0
    known: int = 0
    shared: int = 0
    missed: int = 0
    store_failures: int = 0


class InferenceEngine(Protocol):
    """Answers texts. An answer never depends on what else is being answered."""

    @property
    def done(self) -> Done:
        """So far."""
        ...

    @property
    def load(self) -> Load:
        """At this moment."""
        ...

    async def predict(self, text: str, terms: Terms = NO_TERMS) -> Answer:
        """What the model says of `text`.

        Cancelling the call gives up the place in the queue; what still waits is not computed.

        Raises:
            EngineError: one of those above.
        """
        ...

    def is_alive(self) -> bool:
        """Whether a request made now would be computed."""
        ...
