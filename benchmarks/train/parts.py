"""The parts of the training comparison: which sides, on which workloads."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from benchmarks.process import python, run_measured
from benchmarks.train import ours as train_ours
from benchmarks.train.comparison import Comparison, Side, compare, module_side
from benchmarks.train.gains import compare_ways
from benchmarks.train.workload import Measured, Workload

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
NANO = "plain loop, random blocks"
NANO_BF16 = "plain loop, random blocks, bf16"
WORLD_SIZE = 2
_LLAMA = "bbc_llama"
CHECKPOINT_EVERY = "checkpoints.every=50"
"""The setting under which a run's share of time for checkpoints is measured."""


@dataclass(frozen=True)
class Amounts:
    """How much is run: the steps of the short runs and of the fine-tunes, and how often.

    Where a processor has no instructions for bfloat16, PyTorch takes ten times as long for it: then its fine-tune is as
    short as a short run, for its speed alone.
    """

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
        ours = full.model_copy(update={"threads": 1, "shards": WORLD_SIZE})
        ours_half = ours.model_copy(update={"precision": "bfloat16"})
        half = full.model_copy(
            update={"precision": "bfloat16", "steps": self._steps_of_bfloat16(full.steps)}
        )
        module, grouped = "benchmarks.train.trainer", "--group-by-length"
        sides: dict[str, Side] = {
            TRAINER: module_side(module, full),
            TRAINER_BF16: module_side(module, half),
            GROUPED: module_side(module, full, grouped),
            GROUPED_BF16: module_side(module, half, grouped),
            CONTRACT: lambda: train_ours.run(ours, WORLD_SIZE),
            CONTRACT_BF16: lambda: train_ours.run(ours_half, WORLD_SIZE, [CHECKPOINT_EVERY]),
        }
        # All articles of BBC News are as long as the model reads.
        del sides[TRAINER_BF16 if corpus == "reviews" else GROUPED_BF16]
        amounts = self._amounts
        return compare(sides, rounds=amounts.fine_tune_rounds, warm_up=amounts.warm_up, what=corpus)

    def language(self) -> Comparison:
        """A LLaMA from scratch: ours in two processes of one thread, and a plain loop in one of two."""
        quick = f"train.steps={self._amounts.steps}"
        slow = f"train.steps={self._steps_of_bfloat16(self._amounts.steps)}"
        ours = (quick, "train.threads=1", "evaluate.max_loss=99", "logging.every=1")
        theirs = (quick, "train.threads=2", "train.precision=float32")
        theirs_half = (slow, "train.threads=2", "train.precision=bfloat16")
        in_full = (*ours, "train.precision=float32")
        return self._short(
            {
                CONTRACT: lambda: train_ours.run_recipe(_LLAMA, WORLD_SIZE, in_full),
                CONTRACT_BF16: lambda: train_ours.run_recipe(_LLAMA, WORLD_SIZE, ours),
                NANO: lambda: _nano(theirs),
                NANO_BF16: lambda: _nano(theirs_half),
            },
            _LLAMA,
        )

    def gains(self, corpus: Corpus, shards: int) -> Comparison:
        """What each part of our step gains, in two processes."""
        workload = self.workload(corpus, steps=self._amounts.steps, threads=1)
        return compare_ways(workload.model_copy(update={"shards": shards}), WORLD_SIZE)

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

    def _steps_of_bfloat16(self, steps: int) -> int:
        """Of a side that computes bfloat16 by PyTorch."""
        few = self._amounts.warm_up + 2
        return steps if torch.cpu._is_avx512_bf16_supported() else min(steps, few)


def _nano(overrides: Sequence[str]) -> Measured:
    with tempfile.TemporaryDirectory(prefix="retort-benchmark-run-") as scratch:
        changes = [part for override in overrides for part in ("--set", override)]
        command = python("benchmarks.train.nano", *changes, _LLAMA, scratch)
        _, said = run_measured(command, watch=False)
    return Measured(**json.loads(said.splitlines()[-1]))
