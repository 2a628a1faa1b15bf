"""All rules in their order."""

from collections.abc import Collection

from retort.launch.rules import operators, pods, together
from retort.launch.rules.documents import Applied, Document, Finding
from retort.launch.rules.schemas import Schemas


def check(applied: Applied, schemas: Schemas, there: Collection[str]) -> list[Finding]:
    """Everything that is wrong with objects that are applied together.

    What comes later looks at what came before as right, so an object that its schema refuses is not
    held to more, and objects are held to each other when each by itself is right.

    Args:
        there: `kind/NAME` of what the namespace has already.
    """
    found = list(applied.findings)
    for document in applied.documents:
        found += _of_one(document, schemas)
    # Of what has no schema nobody knows how it looks.
    known = [document for document in applied.documents if schemas.knows(document)]
    return found or list(together.problems(known, there))


def _of_one(document: Document, schemas: Schemas) -> list[Finding]:
    stages = [schemas.problems]
    if schemas.knows(document):
        stages += [operators.problems, pods.problems, operators.traps]
    for stage in stages:
        if found := list(stage(document)):
            return found
    return []
