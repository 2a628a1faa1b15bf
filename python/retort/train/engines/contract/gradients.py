"""Gradients on their way from autograd up the canonical tree.

Autograd hands over each parameter's gradient, of one shard or of a subtree of shards that are computed at once, as soon
as it is known. It is kept as it is, or added to its left neighbour's, and so on up the tree; the last addition of a
subtree that is whole on this rank goes straight into a flat vector. When all parameters of a bucket have come for the
rank's last shard, the bucket is ready to travel while the rest of backward still runs.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from retort.train.engines.contract.layout import Bucket, FlatLayout
from retort.train.engines.contract.tree import RangePlan


class GradientTree:
    """The sums of one rank, filled shard by shard."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        layout: FlatLayout,
        buckets: Sequence[Bucket],
        *,
        roots: Sequence[Tensor],
        on_ready: Callable[[int], None],
    ) -> None:
        """
        Args:
            parameters: the trainable ones by name, float32, on one device.
            roots: flat vectors, float32, zero, in which the sums of the roots of every plan are to lie.
            on_ready: called with a bucket's number when it is complete in all roots.
        """
        self.roots = roots
        self._plan = RangePlan((), (), 0)
        self._on_ready = on_ready
        self._place = 0
        self._missing: list[int] = []
        self._waiting: set[int] = set()
        self._parameters = list(parameters.values())
        self._slots: list[list[Tensor | None]] = []
        self._views: list[list[Tensor]] = []
        self._touches: list[tuple[int, ...]] = []
        slots = {slot.name: slot for slot in layout.slots}
        for number, (name, parameter) in enumerate(parameters.items()):
            slot = slots[name]
            self._views.append(
                [root[slot.start : slot.end].view_as(parameter) for root in self.roots]
            )
            self._touches.append(
                tuple(
                    bucket
                    for bucket, run in enumerate(buckets)
                    if run.start < slot.end and slot.start < run.end
                )
            )
            hook = self._hook(number)
            parameter.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]
        self._expected = [
            sum(bucket in touched for touched in self._touches) for bucket in range(len(buckets))
        ]

    def start(self, plan: RangePlan) -> None:
        """Begin a step, in which gradients are added up so."""
        self._plan = plan
        self._slots = [[None] * len(self._parameters) for _ in range(plan.slots)]

    def begin(self, place: int) -> None:
        """Expect the gradients of the `place`-th leaf of the plan."""
        self._place = place
        self._waiting = set(range(len(self._parameters)))
        self._missing = list(self._expected)

    def destinations(self) -> Mapping[int, Tensor]:
        """Where gradients of this leaf may be made, by where weights begin; nowhere if they are to be added."""
        leaf = self._plan.leaves[self._place]
        if leaf.root is None or leaf.lefts:
            return {}
        views = (each[leaf.root] for each in self._views)
        return {
            parameter.data_ptr(): view
            for parameter, view in zip(self._parameters, views, strict=True)
        }

    def end(self) -> None:
        """Count what backward did not reach as zero."""
        for number in sorted(self._waiting):
            self._take(number, torch.zeros_like(self._parameters[number]))
        if self._is_last:
            # Behind the last parameter there may be nothing to wait for.
            for bucket, expected in enumerate(self._expected):
                if expected == 0:
                    self._on_ready(bucket)

    @property
    def _is_last(self) -> bool:
        return self._place == len(self._plan.leaves) - 1

    def _hook(self, number: int) -> Callable[[Tensor], None]:
        def arrive(parameter: Tensor) -> None:
            gradient, parameter.grad = parameter.grad, None
            assert gradient is not None
            self._take(number, gradient)

        return arrive

    @torch.no_grad()
    def _take(self, number: int, gradient: Tensor) -> None:
        """Add a parameter's gradient to the tree, as far up as both halves are there."""
        leaf = self._plan.leaves[self._place]
        target = None if leaf.root is None else self._views[number][leaf.root]
        value = gradient
        for place, slot in enumerate(leaf.lefts, 1):
            left, self._slots[slot][number] = self._slots[slot][number], None
            assert left is not None
            into = left if target is None or place < len(leaf.lefts) else target
            value = torch.add(left, value, out=into)
        if target is None:
            self._slots[leaf.slot][number] = value
        elif not leaf.lefts and target.data_ptr() != value.data_ptr():
            target.copy_(value)
        self._waiting.remove(number)
        for bucket in self._touches[number]:
            self._missing[bucket] -= 1
            if self._is_last and self._missing[bucket] == 0:
                self._on_ready(bucket)
