"""AdamW on the slices that a rank owns (Loshchilov and Hutter, 2019; slices as in ZeRO stage 1).

PyTorch's fused kernel and the portable one work element by element, so a run of a parameter is updated to
the same bits as the whole of it. Each run is a parameter of a torch optimizer whose moments are views here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from retort.models.parameters import ParameterGroup
from retort.train.engines.contract.layout import FlatLayout
from retort.train.engines.contract.portable_adamw import PortableAdamW
from retort.train.engines.engine import TensorSlice


@dataclass(frozen=True)
class Run:
    """A run of elements of one parameter, inside one slice.

    Attributes:
        offset: of the first element in the flattened parameter.
        weight: a parameter of the optimizer: a view of the flat weights.
    """

    name: str
    offset: int
    weight: nn.Parameter


class SlicedAdamW:
    """Updates the slices of one rank."""

    def __init__(
        self,
        weights: Sequence[Tensor],
        layout: FlatLayout,
        slices: Sequence[range],
        groups: Sequence[ParameterGroup],
        *,
        betas: tuple[float, float],
        eps: float,
        portable: bool = False,
    ) -> None:
        """
        Args:
            weights: of each slice, float32, 1-d.
            slices: runs of elements that this rank owns, rising.
            portable: by portable kernels, and not by PyTorch.
        """
        self._slices = slices
        self._runs: list[list[Run]] = []
        for owned, held in zip(slices, weights, strict=True):
            first = owned.start
            self._runs.append(
                [
                    Run(
                        slot.name,
                        start - slot.start,
                        nn.Parameter(held[start - first : end - first]),
                    )
                    for slot in layout.slots
                    if (start := max(slot.start, owned.start)) < (end := min(slot.end, owned.stop))
                ]
            )
        self._starts = {slot.name: slot.start for slot in layout.slots}
        self._scales = []
        chosen = []
        for group in groups:
            names = set(group.names)
            runs = [run.weight for run in self._all_runs() if run.name in names]
            if runs:
                self._scales.append(group.lr_scale)
                chosen.append({"params": runs, "weight_decay": group.weight_decay})
        self._optimizer: torch.optim.Optimizer | PortableAdamW | None = None
        if chosen and portable:
            self._optimizer = PortableAdamW(chosen, betas=betas, eps=eps)
        elif chosen:
            self._optimizer = torch.optim.AdamW(chosen, betas=betas, eps=eps, fused=True)
        self._device = weights[0].device

    def step(self, gradients: Sequence[Tensor], lr: float, divisor: float) -> None:
        """Update the weights of all slices.

        Args:
            gradients: of each slice, float32; they are used up.
            divisor: what gradients are divided by, which is how they are clipped.
        """
        if self._optimizer is None:
            return
        for owned, runs, gradient in zip(self._slices, self._runs, gradients, strict=True):
            for run in runs:
                start = self._starts[run.name] + run.offset - owned.start
                run.weight.grad = gradient[start : start + run.weight.numel()]
        for group, scale in zip(self._optimizer.param_groups, self._scales, strict=True):
            group["lr"] = lr * scale
        # Both kernels divide on their way, as the fused one does for a gradient scaler.
        scaler = {
            "grad_scale": torch.tensor(divisor, device=self._device),
            "found_inf": torch.zeros((), device=self._device),
        }
        vars(self._optimizer).update(scaler)
        self._optimizer.step()

    def slices(self) -> Iterator[TensorSlice]:
        """Weights and moments that this rank owns; moments are zero before the first step."""
        for run in self._all_runs():
            weight = run.weight.detach()
            yield TensorSlice("model", run.name, run.offset, weight)
            state = self._state(run)
            for moment in ("exp_avg", "exp_avg_sq"):
                values = state[moment] if state else torch.zeros_like(weight)
                yield TensorSlice("optimizer", f"{moment}.{run.name}", run.offset, values)

    def fill(self, name: str, values: Tensor) -> None:
        """Take over the weights of one parameter, given whole."""
        for run in self._all_runs():
            if run.name == name:
                part = values.reshape(-1)[run.offset : run.offset + run.weight.numel()]
                run.weight.detach().copy_(part)

    def restore(self, name: str, exp_avg: Tensor, exp_avg_sq: Tensor, step: int) -> None:
        """Take over the moments of one parameter, given whole."""
        if self._optimizer is None:
            return
        for run in self._all_runs():
            if run.name != name:
                continue
            end = run.offset + run.weight.numel()
            self._optimizer.state[run.weight] = {
                "step": torch.tensor(float(step), device=self._device),
                "exp_avg": exp_avg.view(-1)[run.offset : end].to(self._device, copy=True),
                "exp_avg_sq": exp_avg_sq.view(-1)[run.offset : end].to(self._device, copy=True),
            }

    def _all_runs(self) -> Iterator[Run]:
        return (run for runs in self._runs for run in runs)

    def _state(self, run: Run) -> "dict[str, Tensor] | None":
        assert self._optimizer is not None
        return self._optimizer.state.get(run.weight)
