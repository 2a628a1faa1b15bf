"""What an admission function is told."""

from collections.abc import Callable
from dataclasses import dataclass

from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.kind import Kind


@dataclass(frozen=True)
class Write:
    """A write that is about to happen.

    Attributes:
        before: the object as it is; None where it is made.
        subresource: `status`, or empty.
    """

    kind: Kind
    namespace: str
    name: str
    before: JSONObject | None
    subresource: str = ""


Admission = Callable[[Write, JSONObject], None]
"""Completes the object that is to be written, in place, or raises an `ApiError`."""
