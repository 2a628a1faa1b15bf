"""The engine that a recipe asks for."""

from retort.core.errors import ConfigError
from retort.models.parameters import parameter_groups
from retort.train.engines.contract.engine import ContractEngine
from retort.train.engines.contract.settings import ContractSettings
from retort.train.engines.engine import Engine
from retort.train.engines.sliced.engine import SlicedEngine
from retort.train.processes.world import World
from retort.train.recipe import DeepSpeedConfig, TrainingRecipe
from retort.train.tasks.task import Task
from retort.train.timing.phases import PhaseClock


def open_engine(
    recipe: TrainingRecipe, task: Task, world: World, clock: PhaseClock
) -> tuple[Engine, tuple[str, ...]]:
    """The engine for a task's model, and the names of the weights that it trains.

    Raises:
        ConfigError: the model cannot be frozen as the recipe says, its arithmetic is not for this device, or
            the engine cannot share the shards among so many processes, or no GPU among several.
    """
    if recipe.train.arithmetic == "portable" and world.device.type != "cpu":
        raise ConfigError(
            "train.arithmetic: portable is computed on processors, and this run has a GPU; write native"
        )
    if recipe.backend == "deepspeed" and world.shares_gpus and world.device.type != "cpu":
        # NCCL would take the other process for lost, and an operator would start it again for ever.
        raise ConfigError(
            "--share-gpus: DeepSpeed trades by NCCL, which serves one process on each GPU; start fewer processes"
        )
    groups = parameter_groups(task.model, recipe.model, recipe.optimizer.weight_decay)
    trained = tuple(name for group in groups for name in group.names)
    autocast = recipe.train.precision == "bfloat16"
    if recipe.backend == "deepspeed":
        # Takes long to import, and few runs need it.
        from retort.train.engines.deepspeed.engine import DeepSpeedEngine, DeepSpeedSettings

        zero = DeepSpeedSettings(
            zero=recipe.deepspeed or DeepSpeedConfig(),
            seed=recipe.train.seed,
            batch=recipe.train.batch,
            shards=recipe.train.shards,
            autocast=autocast,
            betas=recipe.optimizer.betas,
            eps=recipe.optimizer.eps,
            max_grad_norm=recipe.optimizer.max_grad_norm,
        )
        deepspeed = DeepSpeedEngine(
            task.model,
            groups,
            zero,
            world,
            micro_batch=task.micro_batch,
            loss=task.loss,
            clock=clock,
        )
        return deepspeed, trained
    settings = ContractSettings(
        seed=recipe.train.seed,
        shards=recipe.train.shards,
        autocast=autocast,
        betas=recipe.optimizer.betas,
        eps=recipe.optimizer.eps,
        max_grad_norm=recipe.optimizer.max_grad_norm,
    )
    if recipe.train.slices == "weights":
        _refuse_slices(recipe, world)
        sliced = SlicedEngine(
            task.model,
            groups,
            settings,
            world=world,
            micro_batch=task.micro_batch,
            loss=task.loss,
            clock=clock,
        )
        return sliced, trained
    contract = ContractEngine(
        task.model,
        groups,
        settings,
        world=world,
        micro_batch=task.micro_batch,
        joined=task.joined,
        loss=task.loss,
        clock=clock,
    )
    return contract, trained


def _refuse_slices(recipe: TrainingRecipe, world: World) -> None:
    if recipe.train.settled_arithmetic != "portable":
        raise ConfigError(
            "train.slices: weights is for portable arithmetic, and this run computes in native"
        )
    if recipe.train.shards % world.size:
        raise ConfigError(
            f"train.slices: weights needs as many of train.shards {recipe.train.shards} on each process, and there "
            f"are {world.size} processes"
        )
