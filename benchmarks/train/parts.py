"""The parts of the training comparison: which sides, on which workloads."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.train import ours as train_ours
from benchmarks.train.comparison import Comparison, Side, compare, module_side
from benchmarks.train.workload import Workload

Corpus = Literal["bbc_news", "reviews"]
CONTRACT = "retort"
DDP = "DistributedDataParallel"
ACCUMULATED = "plain loop, accumulated"
WHOLE = "plain loop, whole batches"
TRAINER = "Trainer"
GROUPED = "Trainer, group_by_length"
TRAINER_BF16 = "Trainer, bf16"
GROUPED_BF16 = "Trainer, group_by_length, bf16"
CONTRACT_BF16 = "retort, bf16"
WORLD_SIZE = 2
CHECKPOINT_EVERY = "checkpoints.every=50"
"""The setting under which a run's share of time for checkpoints is measured."""


@dataclass(frozen=True)
class Amounts:
    """How much is run: the steps of the short runs and of the fine-tunes, and how often."""

    steps: int
    fine_tune_steps: int
    warm_up: int
    rounds: int
    fine_tune_rounds: int


class Parts:
    """Each part is measured by a method; the stores of tokens are there."""

    def __init__(
        self,
        stores: Mapping[Corpus, Path],
        weights: Path,
        amounts: Amounts,
        max_tokens: int,
        shards: int,
    ) -> None:
        self._stores = stores
        self._weights = weights
        self._amounts = amounts
        self._max_tokens = max_tokens
        self._shards = shards

    def workload(self, corpus: Corpus, *, steps: int, threads: int) -> Workload:
        """BBC News as the recipe trains it; reviews are short, so there are more in a batch."""
        return Workload(
            store=self._stores[corpus],
            weights=self._weights,
            steps=steps,
            batch=16 if corpus == "bbc_news" else 32,
            shards=self._shards,
            max_tokens=self._max_tokens,
            lr=1e-4,
            threads=threads,
            pad_to=16 if corpus == "bbc_news" else 8,
        )

    def ddp(self) -> Comparison:
        """The contract and stock DDP, two ranks of one thread."""
        workload = self.workload("bbc_news", steps=self._amounts.steps, threads=1)
        sides: dict[str, Side] = {
            CONTRACT: lambda: train_ours.run(workload, WORLD_SIZE),
            DDP: module_side("benchmarks.train.ddp", workload, "--world-size", WORLD_SIZE),
        }
        return self._short(sides, "two ranks")

    def plain(self) -> Comparison:
        """The contract and plain loops, one process of two threads."""
        workload = self.workload("bbc_news", steps=self._amounts.steps, threads=2)
        sides: dict[str, Side] = {
            CONTRACT: lambda: train_ours.run(workload, 1),
            ACCUMULATED: module_side("benchmarks.train.plain", workload),
            WHOLE: module_side("benchmarks.train.plain", workload, "--whole"),
        }
        return self._short(sides, "one process")

    def trainer(self, corpus: Corpus) -> Comparison:
        """The contract and the `Trainer`, a whole fine-tune on two cores, to its accuracy.

        The Trainer is one process of two threads, as it is by default; ours two of one thread.
        """
        full = self.workload(corpus, steps=self._amounts.fine_tune_steps, threads=2)
        half = full.model_copy(update={"precision": "bfloat16"})
        ours = full.model_copy(update={"threads": 1, "shards": WORLD_SIZE})
        ours_half = ours.model_copy(update={"precision": "bfloat16"})
        module, grouped = "benchmarks.train.trainer", "--group-by-length"
        sides: dict[str, Side] = {
            TRAINER: module_side(module, full),
            TRAINER_BF16: module_side(module, half),
            CONTRACT: lambda: train_ours.run(ours, WORLD_SIZE),
            CONTRACT_BF16: lambda: train_ours.run(ours_half, WORLD_SIZE, [CHECKPOINT_EVERY]),
        }
        if corpus == "reviews":  # all articles of BBC News are as long as the model reads
            del sides[TRAINER_BF16]
            sides[GROUPED] = module_side(module, full, grouped)
            sides[GROUPED_BF16] = module_side(module, half, grouped)
        amounts = self._amounts
        return compare(sides, rounds=amounts.fine_tune_rounds, warm_up=amounts.warm_up, what=corpus)

    def control(self) -> dict[str, dict[int, str]]:
        """What few steps leave at world sizes 1 and 2: seals of ours, digests of DDP's weights."""
        workload = self.workload("bbc_news", steps=3, threads=1)
        return {
            CONTRACT: {size: train_ours.run(workload, size).digest for size in (1, WORLD_SIZE)},
            DDP: {
                size: module_side("benchmarks.train.ddp", workload, "--world-size", size)().digest
                for size in (1, WORLD_SIZE)
            },
        }

    def _short(self, sides: Mapping[str, Side], what: str) -> Comparison:
        return compare(sides, rounds=self._amounts.rounds, warm_up=self._amounts.warm_up, what=what)
