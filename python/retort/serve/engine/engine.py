"""What answers requests. The protocols in front know no more of a model than this."""

from typing import Protocol

from retort.models.predict import Prediction


class EngineError(Exception):
    """A request was not answered; the message may be shown to whoever asked."""


class Overloaded(EngineError):
    """As many requests wait as may wait; the same request can succeed later."""


class NothingToRead(EngineError):
    """The text has nothing in it that the model could read; it never will."""


class PredictionFailed(EngineError):
    """The model raised while it computed this request; others are not touched."""


class EngineStopped(EngineError):
    """Nothing computes any more: the engine was closed, or what computed has died."""


class InferenceEngine(Protocol):
    """Answers texts. An answer never depends on what else is being answered."""

    async def predict(self, text: str) -> Prediction:
        """The label of `text` and how sure the model is of it.

        Cancelling the call gives up the place in the queue; what still waits is not computed.

        Raises:
            Overloaded, NothingToRead, PredictionFailed, EngineStopped.
        """
        ...

    def is_alive(self) -> bool:
        """Whether a request made now would be computed."""
        ...

    def close(self, timeout: float) -> None:
        """Fail what waits with `EngineStopped` and wait so many seconds for what runs."""
        ...
