"""AdamW by the portable kernels (Loshchilov and Hutter, 2019)."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from retort.kernels.optimizer import AdamW, adamw


class PortableAdamW:
    """Updates float32 vectors on the CPU to the same bits on every processor.

    It has the face of `torch.optim.AdamW` as far as it is looked at here, and not its base, which imports a compiler
    for seconds.

    Attributes:
        param_groups: of vectors, each with its `weight_decay` and `lr`.
        state: `step`, `exp_avg` and `exp_avg_sq` of each vector that has made a step.
        grad_scale: what gradients are divided by, as in PyTorch's fused optimisers; a scalar.
    """

    grad_scale: Tensor

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, betas: tuple[float, float], eps: float
    ) -> None:
        """
        Args:
            groups: of vectors, each with its `weight_decay`; `lr` is set before each step.
        """
        self.param_groups = list(groups)
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        self._betas, self._eps = betas, eps

    @torch.no_grad()
    def step(self) -> None:
        """Update every vector by its gradient."""
        factor = 1 / float(self.grad_scale)
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state.get(weight)
                if state is None:
                    moments = {name: torch.zeros_like(weight) for name in ("exp_avg", "exp_avg_sq")}
                    state = self.state[weight] = {"step": torch.tensor(0.0), **moments}
                state["step"] += 1
                numbers = AdamW(
                    lr=group["lr"],
                    betas=self._betas,
                    eps=self._eps,
                    weight_decay=group["weight_decay"],
                    step=int(state["step"]),
                    factor=factor,
                )
                both = (state["exp_avg"], state["exp_avg_sq"])
                adamw(weight.detach(), weight.grad, both, numbers)
