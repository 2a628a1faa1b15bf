"""Memory in which gradients of weights are made, so that nobody has to copy them there."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

_DESTINATIONS: ContextVar[Mapping[int, Tensor] | None] = ContextVar("destinations", default=None)


@contextmanager
def made_in(destinations: Mapping[int, Tensor]) -> Iterator[None]:
    """While this is open, the gradients of some weights are made in memory that is given.

    A backward pass within must come by each weight once: there is one place for its gradient.

    Args:
        destinations: of a weight, by where its elements begin, contiguous and of its shape.
    """
    token = _DESTINATIONS.set(destinations)
    try:
        yield
    finally:
        _DESTINATIONS.reset(token)


def destination_of(weight: Tensor, shape: Sequence[int]) -> Tensor | None:
    """The memory that is given for a weight's gradient, as a new tensor of another shape; None if none is."""
    destinations = _DESTINATIONS.get()
    given = destinations.get(weight.data_ptr()) if destinations else None
    return None if given is None else given.view(tuple(shape))
