"""What a recipe says under `model`."""

from pydantic import Field, model_validator

from retort.core.config import Frozen, LocalPath


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


class ModelConfig(Frozen):
    """Which pretrained model is fine-tuned. Its architecture is the one its config.json names."""

    weights: WeightsConfig
