"""Training by DeepSpeed's ZeRO: the same steps, other sums.

The loss of a logical shard, its dropout and the learning rates are those of the contract's engine.
What differs is who adds the gradients: DeepSpeed sums a process's shards one after the other and
the processes' sums as its collective likes. Equal runs on as many processes give equal bits; on
another number of processes they give nearly equal weights, and another seal.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from retort.models.determinism import seed_from
from retort.models.parameters import ParameterGroup
from retort.train.engines.deepspeed.process import load_deepspeed
from retort.train.engines.deepspeed.settings import deepspeed_settings
from retort.train.engines.deepspeed.zero_state import ZeroState
from retort.train.engines.engine import File, Loss, MicroBatch, Outcome, TensorSlice
from retort.train.processes.world import World
from retort.train.recipe import DeepSpeedConfig
from retort.train.timing.phases import PhaseClock


@dataclass(frozen=True)
class DeepSpeedSettings:
    """What decides a step.

    Attributes:
        batch: documents of a step; `shards` divides it.
        shards: logical shards of a step; the number of processes divides it.
        autocast: matrices are multiplied in bfloat16; weights, gradients and sums are float32.
        betas, eps: of AdamW (Loshchilov and Hutter, 2019).
        max_grad_norm: a gradient with a larger norm is scaled down to it.
    """

    zero: DeepSpeedConfig
    seed: int
    batch: int
    shards: int
    autocast: bool
    betas: tuple[float, float]
    eps: float
    max_grad_norm: float


class DeepSpeedEngine:
    """Trains a model whose state is shared out as ZeRO's stage says; see `retort.train.engines.engine`.

    All processes call every method, with equal arguments. At stage 3 that is true of the model's
    forward pass too: it gathers the weights, also where it only evaluates.
    """

    def __init__(
        self,
        model: nn.Module,
        groups: Sequence[ParameterGroup],
        settings: DeepSpeedSettings,
        world: World,
        *,
        micro_batch: MicroBatch,
        loss: Loss,
        clock: PhaseClock,
    ) -> None:
        """
        Args:
            model: float32; at stage 3 its parameters hold nothing outside the forward pass.
            groups: of all trainable parameters.
            loss: calls the model it is given, which wraps `model`.
        Raises:
            ConfigError: the number of processes does not divide that of the shards.
        """
        parameters = dict(model.named_parameters())
        trained = sum(parameters[name].numel() for group in groups for name in group.names)
        configuration = deepspeed_settings(
            settings.zero,
            parameters=trained,
            batch=settings.batch,
            shards=settings.shards,
            processes=world.size,
            autocast=settings.autocast,
            max_grad_norm=settings.max_grad_norm,
        )
        deepspeed = load_deepspeed(world.local_rank, world.device)
        self._settings, self._world, self._clock = settings, world, clock
        self._micro_batch, self._loss = micro_batch, loss
        self._adamw = AdamW(
            [
                {
                    "params": [parameters[name] for name in group.names],
                    "weight_decay": group.weight_decay,
                    "lr_scale": group.lr_scale,
                }
                for group in groups
            ],
            betas=settings.betas,
            eps=settings.eps,
            fused=True,
        )
        self._engine = deepspeed.initialize(
            model=model, optimizer=self._adamw, config=configuration
        )[0]
        # Not the engine: that multiplies in bfloat16 where it only predicts, too.
        self.model = model
        self._state = ZeroState(self._engine, self._adamw)

    def step(self, number: int, lr: float) -> Outcome:
        """Run this rank's shards and update the weights on all ranks.

        A gradient that is not finite leaves the weights as they were; its norm is infinite.
        """
        for group in self._adamw.param_groups:
            group["lr"] = lr * group["lr_scale"]
        shards, rank, size = self._settings.shards, self._world.rank, self._world.size
        own = range(shards * rank // size, shards * (rank + 1) // size)
        losses = [self._run(number, shard) for shard in own]

        known = torch.tensor(losses, dtype=torch.float64)
        every = self._world.gather(known, f"in step {number + 1}")
        overflow = self._engine.optimizer.overflow
        norm = float("inf") if overflow else float(self._engine.get_global_grad_norm())
        return Outcome(losses=tuple(every.reshape(-1).tolist()), gradient_norm=norm)

    def slices(self) -> Iterator[TensorSlice]:
        """The whole state, from rank 0; the others give nothing, but have to go through it too."""
        for file, name, values in self._state.tensors():
            if self._world.rank == 0:
                yield TensorSlice(file, name, 0, values.reshape(-1))

    def restore(self, read: Callable[[File, str], Tensor], step: int) -> None:
        """Take over weights and moments, wherever and by whichever engine they were trained."""
        self._state.load(read, step)

    def _run(self, number: int, shard: int) -> float:
        with self._clock.phase("data"):
            batch = self._micro_batch(number, shard)
        torch.manual_seed(seed_from(self._settings.seed, "dropout", number, shard))
        autocast = (
            torch.autocast(self._world.device.type, torch.bfloat16)
            if self._settings.autocast
            else nullcontext()
        )
        with autocast:
            (loss,) = self._loss(self._engine, batch, number)
        # DeepSpeed takes the mean over processes, but the parts of a step's loss add up.
        self._engine.backward(loss * self._world.size, scale_wrt_gas=False)
        self._engine.step()
        found: float = loss.item()
        return found
