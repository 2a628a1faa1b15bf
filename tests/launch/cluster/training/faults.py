"""A job that is struck again and again, by what befalls pods of a cluster."""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.launch.cluster.training.jobs import NAME, TrainingJob

PODS = tuple(f"{NAME}-worker-{number}" for number in range(2))
KINDS = ("kill", "cut", "evict", "preempt", "late names")


@dataclass(frozen=True)
class Fault:
    """What befalls a pod.

    Attributes:
        kind: one of `KINDS`.
        pod: which one.
        early: whether as soon as all pods run again, and not when the run has come further.
    """

    kind: str
    pod: str
    early: bool = False


def random_faults(count: int, seed: int) -> list[Fault]:
    """So many, each kind as often as every other, in any order."""
    chosen = random.Random(seed)
    kinds = [KINDS[number % len(KINDS)] for number in range(count)]
    chosen.shuffle(kinds)
    # A link that is cut while pods look for each other is a matter of the patience of PyTorch's store.
    return [
        Fault(kind, chosen.choice(PODS), kind != "cut" and number > 0 and chosen.random() < 0.5)
        for number, kind in enumerate(kinds)
    ]


def strike(job: TrainingJob, faults: Sequence[Fault], steps: int) -> None:
    """Let a job that was applied have faults before it has made so many steps."""
    for number, fault in enumerate(faults):
        if not fault.early:
            # The last one leaves the run a third of its steps: it must not end before it is struck.
            job.until_step(1 + steps * (number + 1) * 2 // (len(faults) * 3))
            job.until_moving()
        before = job.running(PODS)
        # A group that trains starts again as one; until then, the others wait for the one that is made anew.
        gone = {fault.pod} if fault.early else set(PODS)
        if fault.kind == "late names":
            job.hold_names()
            job.annotate(fault.pod, kill="now")
        else:
            job.annotate(
                fault.pod, **({"link": "down"} if fault.kind == "cut" else {fault.kind: "now"})
            )
        while any(job.running(PODS)[pod] == before[pod] for pod in gone):
            os.sched_yield()
        if fault.kind == "late names":
            job.release_names(PODS[::-1])
