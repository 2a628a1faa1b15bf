"""The contract on a GPU: one seal from run to run, its speed, and what it costs.

    python3 -m benchmarks.gpu.train                    where `pack` was unpacked
    python3 -m benchmarks.gpu.train --device cpu --small

Trains an encoder and a language model, both drawn at random, on BBC News in bfloat16. The page is written anew after
each part, so that whoever runs out of time keeps what was measured; parts that there is no time for are named.
"""

import argparse
import datetime
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from benchmarks.gpu.shapes import (
    DECODERS,
    ENCODERS,
    Amounts,
    encoder_workload,
    write_decoder_recipe,
    write_encoder,
    write_encoder_recipe,
)
from benchmarks.markdown import Section, Target, document, table
from benchmarks.process import python, run_measured
from benchmarks.train import ours as train_ours
from benchmarks.train.comparison import Comparison, Side, compare, module_side
from benchmarks.train.workload import Measured
from retort.core.cli import Invocation, positive, run
from retort.core.errors import UserError

CONTRACT = "retort"
PLAIN = "plain loop"
DETERMINISTIC = "plain loop, deterministic kernels"
_LIBRARIES = ("numpy", "torch", "transformers")
_MOST_COST, _LEAST_MFU, _MOST_BLOCKED = 0.02, 0.4, 0.02
_SEALS, _CONTROL = "seals of equal runs", "the control's seal"
_MUST = (_SEALS, _CONTROL)
_FEW = 16
"""Samples of a step where only bits count."""
_EVERY = 3


@dataclass(frozen=True)
class Scale:
    """How large all is.

    Attributes:
        warm_up: steps of a timed run that are not counted.
    """

    encoder: str
    decoder: str
    of_encoder: Amounts
    of_decoder: Amounts
    warm_up: int


_FULL = Scale("minilm", "llama", Amounts(20, 512, 2, 512), Amounts(20, 128, 2, 512), 5)
_SMALL = Scale("tiny", "tiny", Amounts(6, 8, 2, 32), Amounts(6, 8, 2, 32), 1)


@dataclass(frozen=True)
class Subject:
    """A model to train.

    Attributes:
        recipe: its file.
        plain: the loops beside ours, by name.
    """

    name: str
    recipe: Path
    amounts: Amounts
    plain: Mapping[str, Side]


def main(arguments: Sequence[str]) -> int:
    """Measure; 1 if the seals of equal runs differ, or the control's does not."""
    options = _parser().parse_args(arguments)
    invocation = Invocation.from_environment()
    inputs, out = invocation.resolve(options.inputs), invocation.resolve(options.out)
    if not (inputs / "bbc_news").is_dir():
        raise UserError(f"--inputs: {inputs} holds no tokens; `pack` puts them beside the sources")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch sees no GPU of CUDA here; --device cpu rehearses")
    deadline = time.monotonic() + 60 * options.minutes
    date = datetime.datetime.now(datetime.UTC).date()
    where = torch.cuda.get_device_name() if options.device == "cuda" else "a CPU"
    command = shlex.join(["python3", "-m", "benchmarks.gpu.train", *arguments])
    out.mkdir(parents=True, exist_ok=True)
    sections: list[Section] = []
    with tempfile.TemporaryDirectory(prefix="retort-benchmark-") as scratch:
        for name, measure in _parts(inputs, Path(scratch), options):
            if time.monotonic() > deadline:
                section = Section(
                    (), f"## {name}\n\nNot begun: {options.minutes} minutes were over."
                )
            else:
                print(f"{name} ...", file=sys.stderr, flush=True)
                section = measure()
            sections.append(section)
            text = document(f"Training on {where}, {date}", sections, command, _LIBRARIES)
            (out / f"gpu-train-{date}.md").write_text(text, encoding="utf-8")
    print(text)
    seals = [one for section in sections for one in section.targets if one.what in _MUST]
    return int(not all(one.reached for one in seals))


def equal_runs(subject: Subject, name: str) -> Section:
    """One recipe twice, by two processes on the one device, and a control."""
    few = [f"train.batch={_FEW}", "train.steps=4", "train.shards=4"]
    runs = {
        "once": ([], 1),
        "again": ([], 1),
        "by two processes on the one device": ([], 2),
        "control: another seed": (["train.seed=1"], 1),
    }
    seals = {
        words: train_ours.run_recipe(
            str(subject.recipe), size, [*few, *more], ("--share-gpus",)
        ).digest
        for words, (more, size) in runs.items()
    }
    *equal, control = seals.values()
    other = control not in equal
    targets = (
        Target(_SEALS, f"{len(set(equal))} different", "one seal", len(set(equal)) == 1),
        Target(_CONTROL, "another" if other else "the same", "another", other),
    )
    rows = [(words, f"`{seal[:16]}`") for words, seal in seals.items()]
    text = f"## {name}\n\nFour steps of {_FEW} samples in 4 logical shards.\n\n"
    return Section(targets, text + table(("run", "seal"), rows, "ll"))


def speed(comparison: Comparison, amounts: Amounts, name: str) -> Section:
    """Rates of ours and of plain loops, and model FLOPs by the peak."""
    ours = comparison.runs[CONTRACT]
    mfu = max(one.mfu for one in ours)
    more = comparison.cost(CONTRACT, PLAIN)
    targets = (
        Target(f"{name}: MFU", f"{mfu:.1%}", f"at least {_LEAST_MFU:.0%}", mfu >= _LEAST_MFU),
        Target(
            f"{name}: what the contract costs beside a plain loop",
            f"{more:+.1%} time",
            f"at most {_MOST_COST:+.0%}",
            more <= _MOST_COST,
        ),
    )
    rows = [
        (
            side,
            f"{comparison.rate(side):,.1f}",
            f"{comparison.times_as_fast(side, PLAIN):.2f}",
            f"{mfu / comparison.times_as_fast(CONTRACT, side):.1%}",
        )
        for side in sorted(comparison.runs, key=comparison.rate, reverse=True)
    ]
    steps = len(ours[0].seconds)
    text = (
        f"## Speed, {name}\n\nbfloat16, {amounts.batch} samples of up to {amounts.length} tokens a step in "
        f"{amounts.shards} logical shards, one process; medians of {len(ours)} runs in turn, without start-up "
        f"and the first {comparison.warm_up} of {steps} steps. MFU is our trainer's own, and of others by "
        "their rates.\n\n"
    )
    heads = ("side", "samples/s", f"times {PLAIN}", "MFU")
    return Section(targets, text + table(heads, rows, "lrrr"))


def blocking(measured: Measured, name: str) -> Section:
    """How long training waits for a checkpoint after every third step."""
    share = measured.shares["checkpoint"]
    seconds = share * sum(measured.seconds) / max(1, len(measured.seconds) // _EVERY)
    text = (
        f"## {name}\n\nOne after every third step: training waits {seconds * 1e3:.0f} ms for each."
    )
    target = Target(
        "time in which training waits for checkpoints",
        f"{share:.1%}, {seconds * 1e3:.0f} ms each",
        f"at most {_MOST_BLOCKED:.0%}",
        share <= _MOST_BLOCKED,
    )
    return Section((target,), text)


def _parts(
    inputs: Path, scratch: Path, options: argparse.Namespace
) -> Iterator[tuple[str, Callable[[], Section]]]:
    scale = _SMALL if options.small else _FULL
    encoder = _encoder(inputs, scratch, scale, options.device)
    decoder = _decoder(inputs, scratch, scale, options.device)
    for subject in (encoder, decoder):
        name = f"Seals, {subject.name}"
        yield name, partial(equal_runs, subject, name)
    for subject in (encoder, decoder):
        name = f"Speed, {subject.name}"
        yield name, partial(_speed, subject, scale, options.rounds)
    name = f"Checkpoints, {encoder.name}"
    yield name, partial(_blocking, encoder, name)


def _speed(subject: Subject, scale: Scale, rounds: int) -> Section:
    sides: dict[str, Side] = {
        CONTRACT: lambda: train_ours.run_recipe(str(subject.recipe), 1, ()),
        **subject.plain,
    }
    comparison = compare(sides, rounds=rounds, warm_up=scale.warm_up, what=subject.name)
    return speed(comparison, subject.amounts, subject.name)


def _blocking(subject: Subject, name: str) -> Section:
    settings = [f"checkpoints.every={_EVERY}"]
    return blocking(train_ours.run_recipe(str(subject.recipe), 1, settings), name)


def _encoder(inputs: Path, scratch: Path, scale: Scale, device: str) -> Subject:
    weights, recipe = scratch / "weights", scratch / "encoder.yaml"
    store = inputs / "bbc_news"
    write_encoder(
        weights, inputs / "tokenizer.json", ENCODERS[scale.encoder], scale.of_encoder.length
    )
    workload = encoder_workload(store, weights, scale.of_encoder, device)
    write_encoder_recipe(recipe, workload)
    module = "benchmarks.train.plain"
    plain = {
        PLAIN: module_side(module, workload),
        DETERMINISTIC: module_side(module, workload, "--deterministic"),
    }
    return Subject(f"encoder of {scale.encoder}'s shape", recipe, scale.of_encoder, plain)


def _decoder(inputs: Path, scratch: Path, scale: Scale, device: str) -> Subject:
    recipe = scratch / "decoder.yaml"
    store = inputs / "bbc_blocks"
    write_decoder_recipe(recipe, store, DECODERS[scale.decoder], scale.of_decoder)

    def plain() -> Measured:
        with tempfile.TemporaryDirectory(prefix="retort-benchmark-plain-") as tokens:
            command = python("benchmarks.train.nano", "--device", device, recipe, tokens)
            _, said = run_measured(command, watch=False)
        return Measured(**json.loads(said.splitlines()[-1]))

    return Subject(f"LLaMA of {scale.decoder}'s shape", recipe, scale.of_decoder, {PLAIN: plain})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpu_train", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--device",
        choices=("cuda", "cpu"),
        default="cuda",
        help="of the plain loops; ours takes the GPU that it can see",
    )
    parser.add_argument("--inputs", default="inputs", metavar="DIR", help="what `pack` put there")
    parser.add_argument("--small", action="store_true", help="tiny models: does it run?")
    parser.add_argument("--rounds", type=positive, default=2, help="runs of each side")
    parser.add_argument("--minutes", type=positive, default=7, help="begin nothing after so many")
    parser.add_argument("--out", default=".", metavar="DIR", help="where the page goes")
    return parser


if __name__ == "__main__":
    run(main)
