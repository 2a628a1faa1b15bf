"""What a recipe says under `data`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from retort.core.config import Frozen, LocalPath


class DataConfig(Frozen):
    """Which documents, how many of them are held out, and how long they are for the model."""

    source: Literal["bbc_news", "ag_news", "imdb", "directory"]
    directory: LocalPath | None = None
    """For source `directory`: holds one directory of `.txt` files for each label."""
    labels: Annotated[tuple[str, ...], Field(strict=False)] | None = None
    """Labels that documents may have: any other is an error. Without it: the labels found."""
    held_out: float = Field(default=0.2, gt=0.0, lt=1.0)
    """Share of documents held out, by the hash of their text, where the source has no test set."""
    not_utf8: Literal["latin-1", "refuse"] = "latin-1"
    """What to do with a file that is not UTF-8: read it as this (and count it), or stop."""
    max_tokens: int = Field(ge=3, le=8192)
    """Length of each document for the model: longer ones are cut (and counted)."""

    @model_validator(mode="after")
    def _directory_goes_with_its_source(self) -> "DataConfig":
        if (self.source == "directory") != (self.directory is not None):
            raise ValueError("data.directory goes with data.source: directory, and only with it")
        return self
