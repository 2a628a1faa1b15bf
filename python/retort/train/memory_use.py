"""How much memory this process has, and had at most."""

from dataclasses import dataclass
from pathlib import Path

import torch

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
