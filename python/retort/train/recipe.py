"""A recipe: everything that decides what a training run computes."""

from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, Field, model_validator

from retort.core.config import Frozen, for_seal
from retort.core.digest import JSON
from retort.core.seal import Manifest
from retort.data.config import DataConfig, Grouping
from retort.data.preparation.recipe import TokenizerConfig
from retort.models.config import ArithmeticName, ModelConfig, unwanted

LEAST_FLOAT, LARGEST_FLOAT = 2.0**-126, (2.0 - 2.0**-23) * 2.0**127
"""Of float32, in which the optimiser computes: what is smaller than the least loses its digits."""
Beta = Annotated[float, Field(ge=0.0, lt=1.0)]
Steps = Annotated[int, Field(ge=1, le=2**31)]
"""A number of steps: no run has more, and samples are counted in 64 bits."""


class OptimizerConfig(Frozen):
    """AdamW (Loshchilov and Hutter, 2019). Biases and normalisation weights do not decay."""

    lr: float = Field(ge=LEAST_FLOAT, le=LARGEST_FLOAT)
    """The learning rate at its highest, after the rise."""
    weight_decay: float = Field(default=0.01, ge=0.0, le=LARGEST_FLOAT)
    """So much of each weight, times the rate, goes in every step."""
    betas: Annotated[tuple[Beta, Beta], Field(strict=False)] = (0.9, 0.999)
    """Of the moving averages of the gradient and of its square."""
    eps: float = Field(default=1e-8, ge=LEAST_FLOAT, le=LARGEST_FLOAT)
    """Added to the root of the second average, so that nothing is divided by zero."""
    max_grad_norm: float = Field(default=1.0, ge=LEAST_FLOAT, le=LARGEST_FLOAT)
    """A gradient that is longer than this, over all weights, is scaled down to it."""


class ScheduleConfig(Frozen):
    """The learning rate over the run: a linear rise, then a fall to zero or none."""

    warmup: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of all steps in which the rate rises to optimizer.lr."""
    decay: Literal["linear", "cosine", "none"] = "linear"
    """How the rate falls after the rise: to zero at the last step, or not at all."""


class TrainConfig(Frozen):
    """How long, in what pieces, from which seed."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Of new weights, dropout and the order of documents."""
    steps: Steps
    """How often the weights are changed."""
    batch: int = Field(ge=1, le=2**31)
    """Documents, or blocks of tokens, in each optimiser step; no more than there are in all."""
    shards: int = Field(default=4, ge=1, le=4096)
    """Logical shards that a batch is cut into, each computed by itself: the most processes that a
    run can have. For any number of them the result is the same, for other shards it is not."""
    threads: int = Field(default=1, ge=1, le=256)
    """CPU threads of each process. In native arithmetic sums are split among them, so another number gives
    other bits; in portable arithmetic any number gives the same."""
    arithmetic: ArithmeticName | None = None
    """`portable`: kernels that give the same bits, and so the same seal, on every processor (docs/arithmetic.md); on
    CPUs, for the BERT family, LLaMA and GPT-2. `native`: PyTorch's libraries, whose last bits follow the kind of
    processor. Without it: portable where that can be had, otherwise native; the run says which."""
    slices: Literal["optimizer", "weights"] = "optimizer"
    """What each process holds a slice of, beside gradients. `weights` is for models that are too large for one process:
    a weight is brought together when it is needed. It takes portable arithmetic and a number of processes that divides
    train.shards; the result is the same."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of matrix products; weights, gradients and their sums are float32 in both."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of each target that is spread over all labels (Szegedy et al., 2016)."""
    class_weights: Literal["equal", "balanced"] = "equal"
    """Balanced: a document counts by the inverse of its label's share of all documents."""

    @property
    def settled_arithmetic(self) -> ArithmeticName:
        """That of a run's own recipe, which says it; those of runs before it could be said were native."""
        return self.arithmetic or "native"

    @model_validator(mode="after")
    def _shards_divide_the_batch(self) -> "TrainConfig":
        if self.batch % self.shards:
            raise ValueError(
                f"train.batch {self.batch} cannot be cut into train.shards {self.shards} of equal "
                "size; choose a number of shards that divides it"
            )
        return self


class EvaluateConfig(Frozen):
    """How often held-out documents are looked at, and what the run is held to."""

    every: Steps | None = None
    """Steps between two evaluations; without it there is one, at the end."""
    metric: Literal["accuracy", "macro_f1", "macro_auc", "loss"] = "loss"
    """By which one evaluation is better than another."""
    patience: Steps | None = None
    """Stop after so many evaluations in a row that are no better than the best."""
    select: Literal["last", "best"] = "last"
    """Which weights the final checkpoint holds: the last, or those of the best evaluation."""
    min_accuracy: float = Field(default=0.0, ge=0.0, le=1.0)
    """Accuracy on held-out documents under which the run fails."""
    max_loss: float | None = Field(default=None, gt=0.0)
    """Loss on held-out documents over which the run fails."""

    @property
    def lower_is_better(self) -> bool:
        """Of the metric."""
        return self.metric == "loss"

    @model_validator(mode="after")
    def _decisions_need_evaluations(self) -> "EvaluateConfig":
        if self.every is None and (self.patience is not None or self.select == "best"):
            raise ValueError("evaluate.patience and evaluate.select: best need evaluate.every")
        return self


class CheckpointsConfig(Frozen):
    """When the state of a run is kept. It changes nothing that is computed, so no seal holds it."""

    every: Steps | None = None
    """Steps between two checkpoints."""
    minutes: float | None = Field(default=10.0, gt=0.0)
    """The most time between two checkpoints."""
    keep_last: int = Field(default=2, ge=1)
    """How many of the newest stay. The one of the best evaluation stays, too."""


class DeepSpeedConfig(Frozen):
    """ZeRO (Rajbhandari et al., 2020): what the processes share out among themselves.

    Equal recipes give equal bits from run to run on as many processes. On another number of
    processes they do not: the order of the gradients' sum is DeepSpeed's own.
    """

    zero_stage: Literal[1, 2, 3] = 2
    """1: the optimiser's moments; 2: the gradients too; 3: the weights too."""
    offload: Literal["none", "optimizer", "optimizer_and_parameters"] = "none"
    """What lies in the memory of the host, not of the device."""

    @model_validator(mode="after")
    def _parameters_are_shared_out_to_be_offloaded(self) -> Self:
        if self.offload == "optimizer_and_parameters" and self.zero_stage != 3:
            raise ValueError(
                f"offload 'optimizer_and_parameters' needs zero_stage 3, not {self.zero_stage}"
            )
        return self


class DivergenceConfig(Frozen):
    """When a run that goes wrong is stopped. It changes no step that is made, so no seal holds it."""

    spike: float | None = Field(default=None, gt=1.0)
    """Stop if a loss is more than so many times the median of the last ones; none: never."""
    window: int = Field(default=50, ge=5, le=10_000)
    """How many losses that median is of. Nothing is a spike before there are as many."""


class LoggingConfig(Frozen):
    """Watching a run. It changes nothing that is computed, so no seal holds it."""

    every: int = Field(default=10, ge=1)
    """Steps between two records of throughput, memory and the share of each phase."""
    tensorboard: bool = True
    """Whether to write event files into `tensorboard/` of the run."""
    wandb_project: str | None = Field(default=None, min_length=1)
    """Project at Weights & Biases; none leaves it alone."""
    wandb_mode: Literal["online", "offline"] = "online"
    """Offline needs no network: `wandb sync` sends the run later."""


class TrainingRecipe(Frozen):
    """A training run: same recipe, same inputs, same seal."""

    former_keys: ClassVar[Mapping[str, str]] = {"care": "divergence"}

    data: DataConfig
    tokenizer: TokenizerConfig | None = None
    """For a language model whose documents are not a token store yet."""
    model: ModelConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig = ScheduleConfig()
    train: TrainConfig
    evaluate: EvaluateConfig = EvaluateConfig()
    backend: Literal["contract", "deepspeed"] = "contract"
    """`contract`: one result for every number of processes. `deepspeed`: ZeRO, which has one result
    for each."""
    deepspeed: DeepSpeedConfig | None = None
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    divergence: DivergenceConfig = DivergenceConfig()
    logging: LoggingConfig = LoggingConfig()

    @model_validator(mode="after")
    def _sections_go_together(self) -> "TrainingRecipe":
        if self.deepspeed is not None and self.backend != "deepspeed":
            raise ValueError("section deepspeed goes with backend: deepspeed, and only with it")
        if self.backend == "deepspeed" and self.train.arithmetic == "portable":
            raise ValueError(
                "train.arithmetic: portable is not for backend: deepspeed; write native"
            )
        rules = self.model.rules
        if (self.tokenizer is not None) != (not rules.pretrained and self.data.store is None):
            raise ValueError(
                "section tokenizer goes with model.language_model and documents that are not a "
                "token store, and only with them: other models bring theirs"
            )
        for key in unwanted(self.train, rules.foreign.get("train", ())):
            raise ValueError(f"train.{key} is of no use to {rules.model}; remove it")
        if self.train.batch // self.train.shards < rules.in_shard:
            raise ValueError(
                f"train.batch {self.train.batch} in train.shards {self.train.shards}: {rules.model} "
                f"learns from {rules.in_shard} or more in a logical shard; choose fewer shards"
            )
        asked = {self.evaluate.metric} | ({"accuracy"} if self.evaluate.min_accuracy else set())
        if not asked <= set(rules.metrics):
            raise ValueError(
                f"evaluate.metric and evaluate.min_accuracy: {rules.model} is held to its "
                f"{' or '.join(rules.metrics)}; use evaluate.metric: loss and evaluate.max_loss"
            )
        return self


def with_arithmetic(recipe: TrainingRecipe, name: ArithmeticName) -> TrainingRecipe:
    """The recipe of a run that has this arithmetic, and groups its documents accordingly if it does not say how."""
    update: dict[str, BaseModel] = {"train": recipe.train.model_copy(update={"arithmetic": name})}
    if recipe.data.grouping is None:
        packed = name == "portable" and recipe.model.rules.pretrained
        grouping: Grouping = "balanced" if packed else recipe.data.settled_grouping
        update["data"] = recipe.data.model_copy(update={"grouping": grouping})
    return recipe.model_copy(update=update)


NOT_SEALED = ("checkpoints", "divergence", "logging")
"""Sections that change nothing that is computed."""


def decisive(recipe: TrainingRecipe) -> dict[str, JSON]:
    """What of a recipe decides the result, without paths."""
    kept = {key: value for key, value in for_seal(recipe).items() if key not in NOT_SEALED}
    train = kept["train"]
    assert isinstance(train, dict)
    del train["slices"]
    model = kept["model"]
    assert isinstance(model, dict)
    language_model = model.get("language_model")
    if isinstance(language_model, dict) and language_model["attention"] == "block":
        # As it was in all runs before it could be said.
        model["language_model"] = {
            key: value for key, value in language_model.items() if key != "attention"
        }
    if recipe.train.arithmetic == "portable":
        del train["threads"]
    return kept | {"train": train | {"arithmetic": recipe.train.settled_arithmetic}}


def sealed_configuration(recipe: TrainingRecipe, store: Manifest) -> dict[str, JSON]:
    """What a checkpoint's seal holds of its recipe: all that decides the result, and no paths.

    Of the documents it holds what their token store does, so that it makes no difference whether
    the store was made by this run or was there before.
    """
    documents = store.config.get("data")
    data = {**(documents if isinstance(documents, dict) else {}), **recipe.data.batches}
    kept = decisive(recipe)
    # The store's tokenizer is one of its inputs, wherever it came from.
    kept.pop("tokenizer")
    train = kept["train"]
    if isinstance(train, dict) and recipe.train.arithmetic != "portable":
        del train["arithmetic"]  # which seals did not tell before there was a choice
    return {**kept, "data": data}


def recipes() -> Traversable:
    """The directory of recipes that have names."""
    return files("retort.train") / "recipes"
