"""How much memory this process has, had at most, and will need at least."""

from dataclasses import dataclass
from pathlib import Path

import torch

from retort.core.errors import ConfigError
from retort.core.machine import machine_memory
from retort.train.recipe import TrainConfig

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class MemoryUse:
    """In bytes.

    Attributes:
        resident, resident_peak: main memory (proc(5): VmRSS, VmHWM).
        device, device_peak: tensors on the GPU; 0 on a CPU.
    """

    resident: int
    resident_peak: int
    device: int
    device_peak: int


def memory_use(device: torch.device) -> MemoryUse:
    """What this process uses now."""
    lines = (line.split() for line in _STATUS.read_text().splitlines())
    kibibytes = {words[0]: int(words[1]) for words in lines if words[-1] == "kB"}
    on_gpu = device.type == "cuda"
    return MemoryUse(
        resident=1024 * kibibytes["VmRSS:"],
        resident_peak=1024 * kibibytes["VmHWM:"],
        device=torch.cuda.memory_allocated(device) if on_gpu else 0,
        device_peak=torch.cuda.max_memory_allocated(device) if on_gpu else 0,
    )


def check_memory(needed: int, what: str, device: torch.device) -> None:
    """Refuse what cannot be computed here, before hours of swapping or the kernel's end of it.

    Args:
        needed: bytes that it takes at the very least.
        what: keys of the recipe and what they ask for, as the beginning of a sentence.
    Raises:
        ConfigError: there are not as many.
    """
    on_gpu = device.type == "cuda"
    there = torch.cuda.get_device_properties(device).total_memory if on_gpu else machine_memory()
    if needed > there:
        raise ConfigError(
            f"{what} takes {needed / 2**30:,.1f} GiB of memory at the least, and "
            f"{'the device' if on_gpu else 'this machine'} has {there / 2**30:,.1f}; choose less"
        )


def check_batch(
    train: TrainConfig, samples: int, unit: str, bytes_of_sample: int, device: torch.device
) -> None:
    """Refuse a step that is larger than what there is to learn from, or a shard larger than memory.

    Args:
        samples: how many an epoch has.
        unit: what they are called.
        bytes_of_sample: that the states of the layers take at the very least until its backward pass.
    Raises:
        ConfigError
    """
    if train.batch > samples:
        raise ConfigError(
            f"train.batch: {train.batch} is more than the {samples} {unit} to learn from, so that a step "
            "would hold some of them twice; choose a smaller one"
        )
    shard = train.batch // train.shards
    what = f"train.batch, train.shards: a logical shard of {shard} {unit}"
    check_memory(shard * bytes_of_sample, what, device)
