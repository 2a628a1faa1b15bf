"""AdamW by the portable kernels, in the form of PyTorch's optimisers (Loshchilov and Hutter, 2019)."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from retort.kernels.optimizer import AdamW, adamw


class PortableAdamW(torch.optim.Optimizer):
    """Updates float32 vectors on the CPU to the same bits on every processor.

    Attributes:
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
        super().__init__(groups, {"betas": betas, "eps": eps, "lr": 0.0, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every vector by its gradient."""
        factor = 1 / float(self.grad_scale)
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                if not state:
                    state["step"] = torch.tensor(0.0)
                    state["exp_avg"] = torch.zeros_like(weight)
                    state["exp_avg_sq"] = torch.zeros_like(weight)
                state["step"] += 1
                numbers = AdamW(
                    lr=group["lr"],
                    betas=group["betas"],
                    eps=group["eps"],
                    weight_decay=group["weight_decay"],
                    step=int(state["step"]),
                    factor=factor,
                )
                moments = (state["exp_avg"], state["exp_avg_sq"])
                adamw(weight.detach(), weight.grad, moments, numbers)
