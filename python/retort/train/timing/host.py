"""What is true of a run but not of its result: the machine and the libraries. For run.json only."""

import importlib.metadata
import os
import platform
from pathlib import Path

import torch

from retort.core.digest import JSON

_LIBRARIES = ("numpy", "safetensors", "tokenizers", "torch", "transformers")


def host_facts() -> dict[str, JSON]:
    """Processor, cores, memory, system and the versions that decide the last bits."""
    return {
        "processor": _processor(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
    }


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    if file.is_file():
        for line in file.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
