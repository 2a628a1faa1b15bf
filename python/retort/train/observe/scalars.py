"""The curves of a run, by the names that TensorBoard and Weights & Biases group them by."""

from collections.abc import Mapping

from retort.train.observe.step import Step
from retort.train.observe.timings import Timing


def step_scalars(step: Step) -> dict[str, float]:
    """Of each step: train/."""
    return {
        "train/loss": step.loss,
        "train/lr": step.lr,
        "train/gradient_norm": step.gradient_norm,
    }


def timing_scalars(timing: Timing) -> dict[str, float]:
    """Of each record: throughput/, and time/ for the shares."""
    return {
        "throughput/samples_per_second": timing.samples_per_second,
        "throughput/tokens_per_second": timing.tokens_per_second,
        "throughput/mfu": timing.mfu,
        "throughput/memory_bytes": float(timing.memory_bytes),
        "throughput/device_memory_bytes": float(timing.device_memory_bytes),
        **{f"time/{name}": share for name, share in timing.shares.items()},
    }


def evaluation_scalars(metrics: Mapping[str, float]) -> dict[str, float]:
    """Of each evaluation: evaluation/."""
    return {f"evaluation/{name}": value for name, value in metrics.items()}
