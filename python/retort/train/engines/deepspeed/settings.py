"""The settings of ZeRO that follow from a recipe."""

from typing import Any

from retort.core.errors import ConfigError
from retort.train.recipe import DeepSpeedConfig

_LARGEST_BUCKET = 2**25
"""Numbers that are sent at once: DeepSpeed holds buffers of this size, however small the model."""


def deepspeed_settings(
    config: DeepSpeedConfig,
    *,
    parameters: int,
    batch: int,
    shards: int,
    processes: int,
    autocast: bool,
    max_grad_norm: float,
) -> dict[str, Any]:
    """The configuration that DeepSpeed reads; https://www.deepspeed.ai/docs/config-json/.

    A logical shard is DeepSpeed's micro-batch, and each process accumulates its shards. Weights,
    moments, gradients and what is sent of them are float32, whatever the forward pass multiplies.

    Args:
        parameters: numbers that are trained.
        batch: documents of a step.
        autocast: matrices are multiplied in bfloat16.
        max_grad_norm: of the whole gradient; larger ones are scaled down to it.
    Raises:
        ConfigError: the shards cannot be dealt out evenly to the processes.
    """
    if shards % processes:
        raise ConfigError(
            f"train.shards is {shards}, which {processes} processes cannot share evenly, as "
            "backend deepspeed needs; choose a number of processes that divides train.shards"
        )
    zero: dict[str, Any] = {
        "stage": config.zero_stage,
        "contiguous_gradients": True,
        "reduce_bucket_size": min(parameters, _LARGEST_BUCKET),
        # Sums on a stream of their own would come in an order that depends on the load.
        "overlap_comm": False,
    }
    if config.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu"}
    if config.offload == "optimizer_and_parameters":
        zero["offload_param"] = {"device": "cpu"}
    return {
        "train_batch_size": batch,
        "train_micro_batch_size_per_gpu": batch // shards,
        "gradient_accumulation_steps": shards // processes,
        "gradient_clipping": max_grad_norm,
        "torch_autocast": {
            "enabled": autocast,
            "dtype": "bfloat16",
            # Modules whose gradients and weights would be sent as bfloat16: none.
            "lower_precision_safe_modules": [],
        },
        "zero_optimization": zero,
        # The optimiser is PyTorch's AdamW: DeepSpeed's own ones are compiled at first use.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
