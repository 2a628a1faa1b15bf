"""Faults planted on purpose, so that the proof that builds agree can be seen to fail.

Each is one that real builders of images have had.
"""

import dataclasses
import random
import time
from collections.abc import Sequence

from tools.oci.layers.layer import Entry

LAYER_FAULTS = ("none", "mtime", "order", "owner", "gzip-header")
"""`gzip-header` is planted where layers are compressed."""


def planted(entries: Sequence[Entry], fault: str) -> list[Entry]:
    """The entries with the fault: the time of the build, the order of a directory listing, or the builder's user."""
    if fault == "mtime":
        return [dataclasses.replace(entry, mtime=time.time()) for entry in entries]
    if fault == "owner":
        builder = random.SystemRandom().randrange(1000, 60000)
        return [dataclasses.replace(entry, owner=builder) for entry in entries]
    if fault == "order":
        return random.SystemRandom().sample(list(entries), len(entries))
    return list(entries)
