"""Our own side: `retort.train.main` in a process, and what its run directory tells of the time."""

import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.process import python, run_measured
from benchmarks.train.workload import Measured, Workload
from retort.train.observe.timings import Timing, read_timings, summary


def run(workload: Workload, world_size: int, overrides: Sequence[str] = ()) -> Measured:
    """Train by the command that users type, in a directory that is then deleted.

    Args:
        overrides: of keys of the recipe, as after `--set`.
    """
    with tempfile.TemporaryDirectory(prefix="retort-benchmark-run-") as scratch:
        file, out = Path(scratch) / "benchmark.yaml", Path(scratch) / "run"
        file.write_text(json.dumps(recipe(workload)), encoding="utf-8")  # which is YAML too
        options = ["--config", file, "--out", out, "--nproc", world_size, "--json"]
        changes = [part for override in overrides for part in ("--set", override)]
        _, said = run_measured(python("retort.train.main", *options, *changes), watch=False)
        return read(workload, out, json.loads(said.splitlines()[-1]))


def run_recipe(
    name: str, world_size: int, overrides: Sequence[str], flags: Sequence[str] = ()
) -> Measured:
    """The same with a recipe, by its name or its file.

    Args:
        flags: more of the command line.
    """
    with tempfile.TemporaryDirectory(prefix="retort-benchmark-run-") as scratch:
        out = Path(scratch) / "run"
        options = ["--config", name, "--out", out, "--nproc", world_size, "--json"]
        changes = [part for override in overrides for part in ("--set", override)]
        command = python("retort.train.main", *options, *changes, *flags)
        _, said = run_measured(command, watch=False)
        resolved = yaml.safe_load((out / "recipe.yaml").read_text(encoding="utf-8"))
        timings = read_timings(out / "timings.jsonl")
        facts: dict[str, Any] = summary(timings)
        return Measured(
            _seconds(timings),
            resolved["train"]["batch"],
            digest=json.loads(said.splitlines()[-1])["seal"],
            shares=facts["shares"],
            mfu=statistics.median(one.mfu for one in timings),
        )


def recipe(workload: Workload) -> dict[str, Any]:
    """A workload as a recipe, timed step by step."""
    return {
        "data": {
            "source": "token_store",
            "store": str(workload.store),
            "max_tokens": workload.max_tokens,
            "grouping": workload.grouping,
            "pad_to": workload.pad_to,
        },
        "model": {"weights": {"directory": str(workload.weights)}},
        "optimizer": {"lr": workload.lr},
        "train": {
            "seed": workload.seed,
            "steps": workload.steps,
            "batch": workload.batch,
            "shards": workload.shards,
            "threads": workload.threads,
            "precision": workload.precision,
        },
        "logging": {"every": 1},
    }


def _seconds(timings: Sequence[Timing]) -> list[float]:
    """Of each step, without evaluation, which other sides do when all is over."""
    return [one.seconds * (1 - one.shares["evaluation"]) for one in timings]


def read(workload: Workload, out: Path, result: Mapping[str, Any]) -> Measured:
    """What a finished run tells.

    Args:
        out: its directory.
        result: what the command printed.
    """
    timings = read_timings(out / "timings.jsonl")
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    facts: dict[str, Any] = summary(timings)
    return Measured(
        seconds=_seconds(timings),
        samples=workload.batch,
        tokens=[json.loads(line)["tokens"] for line in lines],
        accuracy=result["metrics"]["accuracy"],
        digest=result["seal"],
        shares=facts["shares"],
    )
