"""The contract on a GPU: its cost, its throughput, and that its seal is the same from run to run.

    ./tools/bazel run //benchmarks/train:gpu
    ./tools/bazel run //benchmarks/train:gpu -- --device cpu --shape tiny --steps 4 --max-tokens 32

Trains an encoder drawn at random on BBC News in one process, in bfloat16, beside a plain loop over
the same micro-batches. Prints the result, or writes `gpu-train-DATE.md` to `--out`.
"""

import argparse
import datetime
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
from transformers import BertConfig, BertModel

from benchmarks.markdown import Section, Target, document, table
from benchmarks.train import ours as train_ours
from benchmarks.train.comparison import Comparison, Side, compare, module_side
from benchmarks.train.main import find_weights, prepare
from benchmarks.train.workload import Workload
from retort.core.cli import Invocation, positive, run
from retort.train.timing.peak_flops import PeakFlops, peak_of
from retort.train.timing.throughput import ModelCost

CONTRACT = "retort"
PLAIN = "plain loop"
DETERMINISTIC = "plain loop, deterministic kernels"
WHOLE = "plain loop, whole batches"
_LIBRARIES = ("numpy", "torch", "transformers")
_SHAPES: Mapping[str, Mapping[str, int]] = {
    "tiny": {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128},
    "base": {"num_hidden_layers": 12, "hidden_size": 768, "intermediate_size": 3072},
    "large": {"num_hidden_layers": 24, "hidden_size": 1024, "intermediate_size": 4096},
}
"""Of BERT (Devlin and others, 2019); heads of 64, or of 32 in the tiny one."""


def main(arguments: Sequence[str]) -> int:
    """Measure; 1 if the seals of two runs differ."""
    options = _parser().parse_args(arguments)
    invocation = Invocation.from_environment()
    date = str(datetime.datetime.now(datetime.UTC).date())
    with tempfile.TemporaryDirectory(prefix="retort-benchmark-") as scratch:
        shape, tokenizer = _SHAPES[options.shape], find_weights() / "tokenizer.json"
        weights = Path(scratch) / "weights"
        model = write_encoder(weights, tokenizer, shape, options.max_tokens)
        stores = prepare(["bbc_news"], weights, Path(scratch))
        workload = Workload(
            store=stores["bbc_news"],
            weights=weights,
            steps=options.steps,
            batch=options.batch,
            shards=options.shards,
            max_tokens=options.max_tokens,
            lr=1e-5,
            threads=1,
            precision="bfloat16",
            device=options.device,
        )
        sides = _sides(workload)
        comparison = compare(sides, rounds=options.rounds, warm_up=options.warm_up, what="GPU")
    cost = ModelCost.of(model, shape["num_hidden_layers"], shape["hidden_size"])
    peak = peak_of(torch.device(options.device), "bfloat16")
    section = result(comparison, workload, cost, peak)
    command = shlex.join(["./tools/bazel", "run", "//benchmarks/train:gpu", "--", *arguments])
    where = torch.cuda.get_device_name() if options.device == "cuda" else "a CPU"
    text = document(f"Training on {where}, {date}", [section], command, _LIBRARIES)
    if options.out:
        out = invocation.resolve(options.out)
        out.mkdir(parents=True, exist_ok=True)
        (out / f"gpu-train-{date}.md").write_text(text, encoding="utf-8")
    print(text)
    return int(len(_seals(comparison)) != 1)


def write_encoder(
    root: Path, tokenizer: Path, shape: Mapping[str, int], max_tokens: int
) -> BertModel:
    """Write an encoder drawn at random as pretrained weights are published, and give it back."""
    root.mkdir(parents=True)
    heads = max(2, shape["hidden_size"] // 64)
    config = BertConfig(
        num_hidden_layers=shape["num_hidden_layers"],
        hidden_size=shape["hidden_size"],
        intermediate_size=shape["intermediate_size"],
        num_attention_heads=heads,
        max_position_embeddings=max(512, max_tokens),
    )
    torch.manual_seed(0)
    model = BertModel(config)
    config.save_pretrained(root)
    (root / "model.safetensors").write_bytes(
        safetensors.torch.save(model.state_dict(), metadata={"format": "pt"})
    )
    (root / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    return model


def result(comparison: Comparison, workload: Workload, cost: ModelCost, peak: PeakFlops) -> Section:
    """Speeds, model FLOPs by the peak, what the contract costs, and its seals."""
    more = comparison.cost(CONTRACT, PLAIN)
    seals = _seals(comparison)
    targets = (
        Target(
            "what the contract costs beside a plain loop",
            f"{more:+.1%} time; {comparison.cost(CONTRACT, DETERMINISTIC):+.1%} beside the same "
            "kernels",
            "at most +2 %",
            more <= 0.02,
        ),
        Target("seals from run to run", f"{len(seals)} different", "one seal", len(seals) == 1),
    )
    tokens = _tokens_a_sample(comparison)
    rows = []
    for side in sorted(comparison.runs, key=comparison.rate, reverse=True):
        rate = comparison.rate(side)
        flops = cost.flops(1, round(tokens)) * rate
        rows.append(
            (
                side,
                f"{rate:,.1f}",
                f"{rate * tokens:,.0f}",
                f"{flops / peak.flops:.1%}",
                f"{comparison.times_as_fast(side, PLAIN):.2f}",
            )
        )
    heads = ("side", "samples/s", "tokens/s", "MFU", f"times {PLAIN}")
    runs = comparison.runs[CONTRACT]
    text = (
        f"bfloat16, batches of {workload.batch} texts of up to {workload.max_tokens} tokens in "
        f"{workload.shards} logical shards, one process. Medians of {len(runs)} runs in turn; "
        f"start-up and the first {comparison.warm_up} of {workload.steps} steps are not counted. "
        f"Tokens without padding, MFU against {peak.source}."
        f"\n\n{table(heads, rows, 'lrrrr')}\n\nSeal: `{'`, `'.join(sorted(seals))}`"
    )
    return Section(targets, text)


def _sides(workload: Workload) -> dict[str, Side]:
    module = "benchmarks.train.plain"
    return {
        CONTRACT: lambda: train_ours.run(workload, 1),
        PLAIN: module_side(module, workload),
        DETERMINISTIC: module_side(module, workload, "--deterministic"),
        WHOLE: module_side(module, workload, "--whole"),
    }


def _seals(comparison: Comparison) -> set[str]:
    return {one.digest for one in comparison.runs[CONTRACT]}


def _tokens_a_sample(comparison: Comparison) -> float:
    """The mean over the plain loop's steps that count; all sides see the same texts."""
    run_ = comparison.runs[PLAIN][0]
    counted = run_.tokens[comparison.warm_up :]
    return sum(counted) / (len(counted) * run_.samples)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpu_train", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--device",
        choices=("cuda", "cpu"),
        default="cuda",
        help="of the plain loops; ours takes the GPU that it can see",
    )
    parser.add_argument("--shape", choices=tuple(_SHAPES), default="base", help="of the encoder")
    parser.add_argument("--rounds", type=positive, default=3, help="runs of each side")
    parser.add_argument("--steps", type=positive, default=60, help="of each run")
    parser.add_argument("--warm-up", type=positive, default=10, help="steps that do not count")
    parser.add_argument("--batch", type=positive, default=256, help="texts in a step")
    parser.add_argument("--shards", type=positive, default=8, help="logical shards of a step")
    parser.add_argument("--max-tokens", type=positive, default=512, help="of a text")
    parser.add_argument("--out", metavar="DIR", help="where the result goes")
    return parser


if __name__ == "__main__":
    run(main)
