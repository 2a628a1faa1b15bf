"""DeepSpeed in a process of ours: what it is told of the machine, where it logs, what it lacks."""

import atexit
import logging
import os
import sys
import warnings
from types import ModuleType

import torch
from torch import distributed

_BACKENDS = {"cpu": "gloo", "cuda": "nccl"}


def load_deepspeed(local_rank: int, device: torch.device) -> ModuleType:
    """Import DeepSpeed and make its process group, unless this process has one already.

    DeepSpeed takes the device's kind and the local rank from variables, and nothing else says
    them; a process without a group of its own becomes a group of one, without any port.
    It logs warnings alone, to standard error, and compiles nothing: what it would compile here
    serves inference, and would be left behind in the home directory.
    """
    os.environ["DS_ACCELERATOR"] = device.type
    os.environ["LOCAL_RANK"] = str(local_rank)
    import deepspeed  # type: ignore[import-untyped]
    import deepspeed.ops  # type: ignore[import-untyped]

    log = logging.getLogger("DeepSpeed")
    for handler in log.handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(sys.stderr)
    log.setLevel(logging.WARNING)
    # It calls PyTorch's collectives by names that PyTorch has changed since.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    vars(deepspeed.ops)["__compatible_ops__"] = {}

    if not distributed.is_initialized():
        store = distributed.HashStore()  # type: ignore[attr-defined]
        distributed.init_process_group(_BACKENDS[device.type], store=store, rank=0, world_size=1)
        atexit.register(_leave)
    module: ModuleType = deepspeed
    return module


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
