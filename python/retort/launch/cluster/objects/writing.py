"""How something is written."""

from collections.abc import Callable
from dataclasses import dataclass

from retort.launch.cluster.objects.checking import Validation, say_nothing


@dataclass(frozen=True)
class Writing:
    """How something is written.

    Attributes:
        manager: who writes, as `metadata.managedFields` names it.
        subresource: `status` to write that alone; empty for all but the status.
        dry_run: whether everything is done but keeping it.
        force: whether what is applied takes fields from other managers.
        validation: what becomes of fields that the kind does not have.
        warn: is told of them.
    """

    manager: str = "retort"
    subresource: str = ""
    dry_run: bool = False
    force: bool = False
    validation: Validation = "Ignore"
    warn: Callable[[str], None] = say_nothing


PLAINLY = Writing()
