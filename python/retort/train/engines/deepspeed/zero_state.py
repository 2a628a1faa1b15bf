"""Weights and moments by name, whatever ZeRO's stage made of them."""

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.optim import AdamW

from retort.train.engines.engine import File

_MOMENTS = ("exp_avg", "exp_avg_sq")


class ZeroState:
    """The state of an engine of DeepSpeed: read and written tensor by tensor, never whole at once.

    Args:
        engine: stage 1, 2 or 3, with weights in float32.
        optimizer: PyTorch's AdamW below it, before its first step.
    """

    def __init__(self, engine: Any, optimizer: AdamW) -> None:
        self._zero = engine.optimizer
        self._optimizer = optimizer
        self._shares_weights: bool = engine.zero_optimization_stage() == 3
        self._module: nn.Module = engine.module
        self._rank: int = engine.global_rank
        self._make_moments()

    def tensors(self) -> Iterator[tuple[File, str, Tensor]]:
        """File, name and value (float32, on the host) of every tensor of the state.

        Collective: all processes go through it to its end.
        """
        from deepspeed.runtime.zero import GatheredParameters  # type: ignore[import-untyped]
        from deepspeed.utils import safe_get_full_optimizer_state  # type: ignore[import-untyped]

        for name, values in self._held():
            with GatheredParameters([values]):
                whole = values.detach().to("cpu", copy=True)
            yield "model", name, whole
        for name, weight in self._trained():
            for moment in _MOMENTS:
                whole = safe_get_full_optimizer_state(weight, moment)
                yield "optimizer", f"{moment}.{name}", whole.cpu()

    def load(self, read: Callable[[File, str], Tensor], step: int) -> None:
        """Replace every tensor of the state by what `read` gives for its file and name.

        Args:
            step: how many steps the moments are a mean over, which AdamW's correction asks for.
        """
        from deepspeed.runtime.zero import GatheredParameters

        for name, values in self._held():
            with GatheredParameters([values], modifier_rank=0), torch.no_grad():
                values.copy_(read("model", name))
        for name, weight in self._trained():
            self._put(weight, None, read("model", name))
            for moment in _MOMENTS:
                self._put(weight, moment, read("optimizer", f"{moment}.{name}"))
        for state in self._optimizer.state.values():
            state["step"].fill_(step)

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Trainable parameters; a shared one once, under its first name."""
        named = self._module.named_parameters()
        return ((name, weight) for name, weight in named if weight.requires_grad)

    def _held(self) -> Iterator[tuple[str, Tensor]]:
        """What file "model" holds: trainable parameters, frozen ones, and buffers."""
        yield from self._trained()
        for name, values in self._module.state_dict(keep_vars=True).items():
            if not values.requires_grad:
                yield name, values

    def _make_moments(self) -> None:
        """Make the moments now, as zeros.

        The optimiser would make them in its first step, where DeepSpeed finds those of the first
        group alone; and a state can be read and written before that step.
        """
        flat: list[Tensor] = (
            self._zero.fp32_partitioned_groups_flat
            if self._shares_weights
            else self._zero.single_partition_of_fp32_groups
        )
        for values in flat:
            self._optimizer.state[values] = {
                "step": torch.zeros((), device=values.device),
                **{moment: torch.zeros_like(values) for moment in _MOMENTS},
            }
        if not self._shares_weights:
            self._zero._lazy_init_hp_params_optimizer_state()

    def _put(self, weight: nn.Parameter, moment: str | None, value: Tensor) -> None:
        """Set this process's share of the float32 weight that is optimised, or of its moment."""
        from deepspeed import utils  # type: ignore[import-untyped]

        if self._shares_weights:
            share: int = cast(Any, weight).ds_tensor.numel()
            # The last share is filled up; DeepSpeed's own cut of a whole tensor runs over its end.
            start = self._rank * share
            value = value.reshape(-1)[start : start + share]
            value = pad(value, (0, share - value.numel()))
            if moment is None:
                utils.safe_set_local_fp32_param(weight, value)
            else:
                utils.safe_set_local_optimizer_state(weight, value, moment)
        elif moment is None:
            utils.safe_set_full_fp32_param(weight, value)
        else:
            utils.safe_set_full_optimizer_state(weight, value, moment)
