"""What all sides of the training comparison have in common, and what each of them reports.

A side is a process. It gets a `Workload` as JSON, trains, and prints its `Measured` as JSON. The
clock starts with the first step: starting Python, importing, loading weights, making a process group
and sealing are not in it, and the first steps, in which memory is allocated and kernels are chosen,
are left out by whoever reads the times.
"""

import argparse
import hashlib
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import AdamW
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from retort.core.config import Frozen
from retort.data.batches.grouping import Grouping
from retort.data.batches.readers import ClassificationReader, Shards, TextBatch
from retort.data.store.store import StorePart, TokenStore
from retort.data.tokenizers.collator import Collator
from retort.models.determinism import seed_from

MAX_NORM = 1.0
WEIGHT_DECAY = 0.01
WARM_UP_SHARE = 0.1
_PREDICTED_AT_A_TIME = 32


class Workload(Frozen):
    """One fine-tune. `grouping` and `pad_to` are for sides that use our reader."""

    store: Path
    weights: Path
    """A directory with config.json, model.safetensors and tokenizer.json."""
    steps: int
    batch: int
    shards: int
    max_tokens: int
    lr: float
    threads: int
    precision: Literal["float32", "bfloat16"] = "float32"
    grouping: Grouping = "balanced"
    pad_to: int = 16
    seed: int = 0
    device: Literal["cpu", "cuda"] = "cpu"

    @classmethod
    def from_command_line(cls, parser: argparse.ArgumentParser) -> "tuple[Workload, Any]":
        """The workload, and what other options the parser knows."""
        parser.add_argument("workload", help="as JSON")
        options = parser.parse_args()
        return cls.model_validate_json(options.workload), options

    def open(self) -> TokenStore:
        """The tokens."""
        return TokenStore.open(self.store)

    def reader(self, store: TokenStore) -> ClassificationReader:
        """The micro-batches, equal on every side that has shards."""
        return ClassificationReader(
            store.part("train"),
            self.collator(store),
            self.seed,
            Shards(self.batch, self.shards),
            grouping=self.grouping,
        )

    def collator(self, store: TokenStore) -> Collator:
        """How texts become a batch."""
        return Collator(store.facts.special, self.max_tokens, self.pad_to)

    def model(self, labels: int) -> PreTrainedModel:
        """The pretrained model with a new head, equal on every side; on the device, in training."""
        torch.manual_seed(self.seed)
        model = AutoModelForSequenceClassification.from_pretrained(
            self.weights, num_labels=labels, local_files_only=True, dtype=torch.float32
        )
        assert isinstance(model, PreTrainedModel)
        model.to(self.device)  # type: ignore[arg-type]
        model.train()
        return model

    def optimizer(self, model: torch.nn.Module) -> AdamW:
        """AdamW in its fastest form, with weight decay on matrices alone."""
        matrices = [weight for weight in model.parameters() if weight.ndim > 1]
        vectors = [weight for weight in model.parameters() if weight.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": WEIGHT_DECAY},
            {"params": vectors, "weight_decay": 0.0},
        ]
        return AdamW(groups, lr=self.lr, fused=True)

    def loss(self, model: torch.nn.Module, batch: TextBatch) -> Tensor:
        """A micro-batch's part of the step's mean."""
        ids, mask, labels = (
            torch.from_numpy(one).to(self.device) for one in (batch.ids, batch.mask, batch.labels)
        )
        with self.autocast():
            scores = model(input_ids=ids, attention_mask=mask).logits
        return cross_entropy(scores.float(), labels, reduction="sum") / self.batch

    def autocast(self) -> AbstractContextManager[Any]:
        """Matrices in bfloat16 where the workload says so."""
        if self.precision == "bfloat16":
            return torch.autocast(self.device, torch.bfloat16)
        return nullcontext()

    def seed_dropout(self, step: int, shard: int) -> None:
        """Equal dropout on every side that has shards."""
        torch.manual_seed(seed_from(self.seed, "dropout", step, shard))


@dataclass(frozen=True)
class Measured:
    """What one run of a side took and came to.

    Attributes:
        seconds: of each step, in order, evaluation and start-up left out.
        samples: documents in a step.
        tokens: of each step, as far as the side counts them: no padding, special ones included.
        accuracy: on held-out documents; None where nothing was held out to it.
        digest: SHA-256 of the trained weights, or a seal; equal digests are equal weights.
        shares: of the time, by what it was spent on.
        mfu: of the median step, as our trainer tells it; 0 for who does not.
    """

    seconds: Sequence[float]
    samples: int
    tokens: Sequence[int] = ()
    accuracy: float | None = None
    digest: str = ""
    shares: dict[str, float] = field(default_factory=dict)
    mfu: float = 0.0

    def rate(self, warm_up: int) -> float:
        """Samples a second after the first steps, stalls and checkpoints included."""
        timed = self.seconds[warm_up:]
        return self.samples * len(timed) / sum(timed)

    def tokens_a_second(self, warm_up: int) -> float:
        """Tokens that are no padding."""
        return sum(self.tokens[warm_up:]) / sum(self.seconds[warm_up:])

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class StepTimes:
    """Seconds of each step, by a clock that starts when it is made."""

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self.seconds: list[float] = []
        self._last = self._now()

    def step(self) -> None:
        """A step has ended."""
        now = self._now()
        self.seconds.append(now - self._last)
        self._last = now

    def _now(self) -> float:
        if self._device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def digest_of(model: torch.nn.Module) -> str:
    """SHA-256 over all weights in the order of their names."""
    digest = hashlib.sha256()
    for name, values in sorted(model.state_dict().items()):
        digest.update(name.encode() + values.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@torch.inference_mode()
def held_out_accuracy(workload: Workload, model: PreTrainedModel, store: TokenStore) -> float:
    """Share of held-out documents that the model labels right, in float32."""
    part: StorePart = store.part("held_out")
    reader = ClassificationReader(part, workload.collator(store), 0, Shards(1))
    model.eval()  # type: ignore[no-untyped-call]
    right = 0
    by_length = np.argsort(part.lengths, kind="stable")
    for start in range(0, len(part), _PREDICTED_AT_A_TIME):
        batch = reader.texts(by_length[start : start + _PREDICTED_AT_A_TIME])
        ids, mask = (torch.from_numpy(one).to(model.device) for one in (batch.ids, batch.mask))
        found = model(input_ids=ids, attention_mask=mask).logits.argmax(dim=1).cpu().numpy()
        right += int((found == batch.labels).sum())
    return right / len(part)
