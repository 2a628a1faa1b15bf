"""The same fine-tune by the `Trainer` of transformers, with its own defaults but for the recipe's.

It reads the tokens of the store, so that no side tokenises, and saves nothing.
"""

import argparse
import json
import tempfile
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import (
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks.train.workload import (
    MAX_NORM,
    WARM_UP_SHARE,
    WEIGHT_DECAY,
    Measured,
    StepTimes,
    Workload,
    digest_of,
    held_out_accuracy,
)
from retort.data.store.store import TokenStore


class _Documents(Dataset[dict[str, Any]]):
    """The documents to learn from, cut, with their special tokens, not padded."""

    def __init__(self, store: TokenStore, max_tokens: int) -> None:
        part, special = store.part("train"), store.facts.special
        room = max_tokens - special.around
        self._given = [
            {
                "input_ids": [
                    *special.prefix,
                    *part.document(number)[:room].tolist(),
                    *special.suffix,
                ],
                "labels": int(part.labels[number]),
            }
            for number in range(len(part))
        ]

    def __len__(self) -> int:
        return len(self._given)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return self._given[number]


class _Clock(TrainerCallback):
    """Steps as the Trainer itself tells of them."""

    times: StepTimes

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.times = StepTimes()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.times.step()


def train(workload: Workload, *, group_by_length: bool) -> Measured:
    """Train and measure."""
    torch.set_num_threads(workload.threads)
    store = workload.open()
    model = workload.model(len(store.labels))
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_file=str(workload.weights / "tokenizer.json"), pad_token="[PAD]"
    )
    clock = _Clock()
    with tempfile.TemporaryDirectory() as directory:
        trainer = Trainer(
            model,
            TrainingArguments(
                directory,
                max_steps=workload.steps,
                per_device_train_batch_size=workload.batch,
                learning_rate=workload.lr,
                weight_decay=WEIGHT_DECAY,
                max_grad_norm=MAX_NORM,
                warmup_steps=WARM_UP_SHARE,
                bf16=workload.precision == "bfloat16",
                train_sampling_strategy="group_by_length" if group_by_length else "random",
                seed=workload.seed,
                use_cpu=True,
                dataloader_pin_memory=False,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=_Documents(store, workload.max_tokens),
            data_collator=DataCollatorWithPadding(tokenizer),
            processing_class=tokenizer,
            callbacks=[clock],
        )
        trainer.train()
    accuracy = held_out_accuracy(workload, model, store)
    return Measured(clock.times.seconds, workload.batch, accuracy=accuracy, digest=digest_of(model))


def main() -> None:
    """One run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--group-by-length", action="store_true")
    workload, options = Workload.from_command_line(parser)
    measured = train(workload, group_by_length=options.group_by_length)
    print(json.dumps(measured.to_json()))


if __name__ == "__main__":
    main()
