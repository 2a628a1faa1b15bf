"""What a recipe says under `model`."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from retort.core.config import Frozen, LocalPath

ArithmeticName = Literal["native", "portable"]
PrecisionName = Literal["float32", "bfloat16", "int8"]
"""Of the factors of an encoder's products, where a model is evaluated."""
_SWIGLU_MULTIPLE = 64


class WeightsConfig(Frozen):
    """Where pretrained weights come from. They are looked for in this order, the network last."""

    directory: LocalPath | None = None
    """A directory with config.json, model.safetensors and tokenizer.json."""
    package: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """An importable Python package that holds such a directory."""
    hub: str | None = Field(default=None, pattern=r"^[\w.-]+/[\w.-]+@[0-9a-f]{40}$")
    """A repository of the hub at a commit, `owner/name@<40 hex digits>`. Without it: no network."""

    @model_validator(mode="after")
    def _from_somewhere(self) -> "WeightsConfig":
        if self.directory is None and self.package is None and self.hub is None:
            raise ValueError(
                "give model.weights.directory, model.weights.package or model.weights.hub"
            )
        return self


class HeadConfig(Frozen):
    """From the last hidden states of a text to the scores of its classes; of embeddings, to the vector
    that is compared in training. What they are compared by afterwards is the pooled one."""

    pooling: Literal["cls", "mean", "max", "attention"] = "mean"
    """How the vectors of a text's tokens become one: the first token's, their mean or maximum, or
    their mean weighted by a learned query. Padding never counts."""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Of the pooled vector, before the linear layer."""
    layer_norm: bool = True
    """Normalise the pooled vector (Ba et al., 2016)."""


class FreezeConfig(Frozen):
    """What keeps its pretrained values."""

    embeddings: bool = False
    """All weights of the pretrained model that lie outside its layers."""
    layers: int = Field(default=0, ge=0)
    """So many of its layers, from the lowest."""


class LanguageModelConfig(Frozen):
    """A causal language model, from scratch. Its vocabulary is that of the token store."""

    family: Literal["llama", "gpt2"]
    """The architecture: with rotary positions, RMSNorm and SwiGLU, or GPT-2's."""
    hidden: int = Field(ge=1, le=65_536)
    """Numbers in the vector of a token; `heads` must divide it."""
    layers: int = Field(ge=1, le=1024)
    """Blocks of attention and feed-forward layers."""
    heads: int = Field(ge=1, le=65_536)
    """Heads of attention in each layer, of hidden / heads numbers each."""
    kv_heads: int | None = Field(default=None, ge=1, le=65_536)
    """Heads of keys and values, each shared by heads / kv_heads queries (Ainslie et al., 2023).
    Without it: as many as heads."""
    intermediate: int | None = Field(default=None, ge=1, le=1_048_576)
    """Width of the feed-forward layers. Without it: 4 * hidden, and for SwiGLU, which has three
    matrices where others have two, 8 / 3 * hidden, rounded up to a multiple of 64."""
    context: int = Field(ge=1, le=8192)
    """The most tokens that the model sees at once."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Of attention; with gpt2 of embeddings and residual branches too."""
    attention: Literal["block", "document"] = "block"
    """What a token sees of what is before it: all of its block, or of its own document alone, whose positions begin
    with 0. `document` is for portable arithmetic."""
    tie_embeddings: bool = True
    """One matrix for the input's embeddings and the output's (Press and Wolf, 2017)."""

    @property
    def feed_forward(self) -> int:
        """`intermediate`, or what stands for it."""
        if self.intermediate is not None:
            return self.intermediate
        if self.family == "gpt2":
            return 4 * self.hidden
        return -(-8 * self.hidden // (3 * _SWIGLU_MULTIPLE)) * _SWIGLU_MULTIPLE

    def matrix_weights(self, vocabulary_size: int) -> int:
        """Numbers in its matrices, which is all but some thousandths of it."""
        heads = self.kv_heads or self.heads
        attention = 2 * self.hidden * (self.hidden + self.hidden // self.heads * heads)
        feed_forward = (3 if self.family == "llama" else 2) * self.hidden * self.feed_forward
        embeddings = vocabulary_size * self.hidden * (1 if self.tie_embeddings else 2)
        return self.layers * (attention + feed_forward) + embeddings

    @model_validator(mode="after")
    def _fits_together(self) -> "LanguageModelConfig":
        if self.hidden % self.heads:
            raise ValueError(f"heads {self.heads} must divide hidden {self.hidden}")
        if self.family == "gpt2" and self.kv_heads is not None:
            raise ValueError("kv_heads is of family llama; gpt2 has as many as heads")
        if self.kv_heads is not None and self.heads % self.kv_heads:
            raise ValueError(f"kv_heads {self.kv_heads} must divide heads {self.heads}")
        if self.family == "llama" and self.hidden // self.heads % 2:
            raise ValueError(
                f"hidden / heads is {self.hidden // self.heads}, and rotary positions turn pairs: "
                "make it even"
            )
        return self


class EmbeddingsConfig(Frozen):
    """Texts as vectors, learned without labels (SimCSE: Gao et al., 2021): a text goes through the
    encoder twice, with other dropout, and is to be nearer to itself than to the other texts of its
    logical shard."""

    temperature: float = Field(default=0.05, ge=0.001, le=10.0)
    """By which cosines are divided before the softmax over the texts of a logical shard."""


TaskName = Literal["classifier", "language_model", "embeddings"]


@dataclass(frozen=True)
class TaskRules:
    """What a task asks of the rest of its recipe.

    Attributes:
        model: what is trained, such as `a classifier`.
        pretrained: whether it starts from weights, and so has their tokenizer.
        metrics: by which its evaluations may be compared; without `accuracy` it has none.
        foreign: keys that are of no use to it, under `model` and under `train`.
        in_shard: the least that a logical shard must hold, if samples are compared with each other.
    """

    model: str
    pretrained: bool
    metrics: tuple[str, ...]
    foreign: Mapping[str, tuple[str, ...]]
    in_shard: int = 1


TASKS: Mapping[TaskName, TaskRules] = {
    "classifier": TaskRules(
        "a classifier", True, ("accuracy", "macro_f1", "macro_auc", "loss"), {}
    ),
    "language_model": TaskRules(
        "a language model",
        False,
        ("loss",),
        {
            "model": ("embeddings", "head", "freeze", "layer_decay"),
            "train": ("label_smoothing", "class_weights"),
        },
    ),
    "embeddings": TaskRules(
        "an embedding model",
        True,
        ("accuracy", "loss"),
        {"train": ("label_smoothing", "class_weights")},
        in_shard=2,
    ),
}
"""All that there are. But for the classifier, each has a section of its name under `model`."""


class ModelConfig(Frozen):
    """What is trained: a classifier or embeddings from pretrained weights, or a language model from
    scratch."""

    weights: WeightsConfig | None = None
    """A pretrained encoder to make a classifier or embeddings of; its architecture is what its
    config.json says."""
    language_model: LanguageModelConfig | None = None
    embeddings: EmbeddingsConfig | None = Field(
        default=None, exclude_if=lambda value: value is None
    )
    """With `{}` or keys, weights are trained to give embeddings; without it, to be a classifier."""
    head: HeadConfig = HeadConfig()
    freeze: FreezeConfig = FreezeConfig()
    layer_decay: float = Field(default=1.0, gt=0.0, le=1.0)
    """Factor of the learning rate from each layer to the one below it (Clark et al., 2020): the
    head has the full rate, the highest layer layer_decay of it, the next layer_decay squared."""

    @property
    def task(self) -> TaskName:
        """The task whose section there is, or else the classifier."""
        return next((one for one in TASKS if getattr(self, one, None) is not None), "classifier")

    @property
    def rules(self) -> TaskRules:
        """Of the task."""
        return TASKS[self.task]

    @model_validator(mode="after")
    def _is_one_task(self) -> "ModelConfig":
        if (self.weights is not None) != self.rules.pretrained:
            raise ValueError(
                "give model.weights (pretrained, for a classifier or embeddings) or "
                "model.language_model (from scratch), and not both"
            )
        for key in unwanted(self, self.rules.foreign.get("model", ())):
            raise ValueError(
                f"model.{key} is of no use to {self.rules.model}; remove it, or model.{self.task}"
            )
        return self


def unwanted(section: Frozen, keys: Iterable[str]) -> Iterator[str]:
    """Those keys that are not at their default: a resolved recipe has every key, and is read again."""
    for key in keys:
        if getattr(section, key) != type(section).model_fields[key].default:
            yield key
