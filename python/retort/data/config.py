"""What a recipe says under `data`."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationInfo,
    model_serializer,
    model_validator,
)

from retort.core.config import FORM, Frozen, LocalPath, for_seal
from retort.core.digest import JSON
from retort.core.errors import UserError
from retort.core.paths import resolved

Source = Literal[
    "bbc_news", "reviews", "ag_news", "imdb", "directory", "text", "jsonl", "csv", "parquet"
]
NotUtf8 = Literal["refuse", "latin-1", "replace", "drop"]
BadRows = Literal["refuse", "drop"]
OWN_TEST_SETS = ("ag_news", "imdb")
FILE_SOURCES = ("directory", "text", "jsonl", "csv", "parquet")
_TABLES = ("jsonl", "csv", "parquet")
_DELIMITERS = {"comma": ",", "tab": "\t", "semicolon": ";", "pipe": "|", "space": " "}
_NO_DELIMITERS = '"\r\n\0\ufeff'
_SECRETS = {"key", "secret", "token", "password", "username"}

_SHOWN = 100
_COMMIT = "^[0-9a-f]{40}$"
_SPLITS = r"^\w+(\.\w+)*(\+\w+(\.\w+)*)*$"
_ROUNDING = 1e-9
"""A share such as 1/3 is not exact as a float."""


def folds_of(held_out: float) -> int:
    """How many slices of this share fit into the whole: 5 of 0.2, and 3 of the float nearest 1/3."""
    return math.floor(1 / held_out + _ROUNDING)


def slice_held_out(held_out: float, fold: int) -> tuple[float, float]:
    """From where (included) to where (not) a digest, taken as a share of 0 .. 1, is held out.

    The slices of all folds lie side by side, so that no document is held out twice, and each once
    if they fill the whole.

    Args:
        held_out: width of a slice; fold: its number, from 0.
    """
    low, high = fold * held_out, (fold + 1) * held_out
    # The last slice takes in what rounding leaves out, and the highest digests, which round to 1.
    return low, math.inf if high > 1 - _ROUNDING else high


def _resolve(addresses: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    start: Any = (info.context or {}).get("start")
    if start is None:
        return addresses
    try:
        return tuple(one if ":" in one else str(resolved(one, start)) for one in addresses)
    except UserError as error:
        raise ValueError(error) from error


def _text_keys(value: Any) -> Any:
    """YAML reads the key of `0: World` as a number."""
    if isinstance(value, Mapping):
        return {str(key): name for key, name in value.items()}
    return value


def _commit(revision: Any) -> str:
    if not isinstance(revision, str) or not re.fullmatch(_COMMIT, revision):
        raise ValueError(
            f"{str(revision)[:_SHOWN]!r} is no full commit SHA of 40 hexadecimal digits; take that of the data set's "
            "page: what a branch, a tag or a short one means can change"
        )
    return revision


def _delimiter(value: Any) -> Any:
    character = _DELIMITERS.get(value, value) if isinstance(value, str) else value
    if isinstance(character, str) and (len(character) != 1 or character in _NO_DELIMITERS):
        names = ", ".join(_DELIMITERS)
        raise ValueError(
            f"{value!r} cannot be between fields; give one character, or one of {names}"
        )
    return character


Addresses = Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_resolve)]
"""Paths or fsspec addresses (`file:`, `memory:`, `s3:` ...), any of them a glob. `load_recipe` says
where a relative path starts; no seal holds them."""


class FilesConfig(Frozen):
    """Files of documents, and where in them text and label are found."""

    paths: Annotated[tuple[str, ...], Field(strict=False, min_length=1), AfterValidator(_resolve)]
    """Files, or for source `directory` the directories that hold `<label>/*.txt`."""
    held_out_paths: Addresses = ()
    """The source's own test set. With it, `paths` is all to learn from, and no hash splits it."""
    storage_options: dict[str, Any] = Field(default_factory=dict)
    """What fsspec is told of the storage, such as `endpoint_url` for `s3:`; no seal holds it."""
    text: str = "text"
    """Column (CSV, Parquet) or key (JSONL) of the text."""
    label: str | None = None
    """Column or key of the label. Without it documents have no labels."""
    label_names: Annotated[dict[str, str], BeforeValidator(_text_keys)] = Field(
        default_factory=dict
    )
    """From a label as it is written, such as 0, to its name. With it, any other is an error."""
    delimiter: Annotated[str, BeforeValidator(_delimiter)] = ","
    """Between the fields of a CSV file: one character, or its name: tab, semicolon, pipe."""
    document: Literal["line", "file"] = "line"
    """For source `text`: what one document is."""

    @model_validator(mode="after")
    def _no_secrets(self) -> "FilesConfig":
        secrets = sorted(_SECRETS & {name.lower() for name in self.storage_options})
        if secrets:
            raise ValueError(
                f"storage_options cannot hold {secrets[0]}: a recipe is kept with the run; "
                "credentials come from the storage's own files or environment variables"
            )
        return self


class HubSource(Frozen):
    """Any data set of the hub whose files the `datasets` library reads, at one commit."""

    hub: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    """Its repository, `owner/name`."""
    revision: Annotated[
        str, BeforeValidator(_commit), Field(json_schema_extra={"pattern": _COMMIT})
    ]
    """The full SHA of a commit of it, 40 hexadecimal digits."""
    subset: str | None = None
    """One of its configurations, where it has several."""
    split: str = Field(default="train", pattern=_SPLITS)
    """The split that is read; several are joined by `+`."""
    held_out_split: str | None = Field(default=None, pattern=_SPLITS)
    """Its own test set. With it, `split` is all to learn from, and no hash splits it."""
    text: str = "text"
    """Column of the text."""
    label: str | None = None
    """Column of the label: words, or whole numbers, which go by the names of their classes where the
    data set has them. Without it documents have no labels."""
    streaming: bool = False
    """Read rows over the network each time and keep no file. Otherwise files come into the hub's
    local cache first. The documents are the same; no seal holds it."""

    @model_validator(mode="after")
    def _splits_are_apart(self) -> "HubSource":
        both = set(self.split.split("+")) & set((self.held_out_split or "").split("+"))
        if both:
            raise ValueError(f"{min(both)} is in split and in held_out_split; leave it out of one")
        return self


class NearDuplicatesConfig(Frozen):
    """How near-duplicates are looked for, and what is done with them."""

    action: Literal["report", "error", "remove", "ignore"] = "report"
    """For those across the split: report them, stop, or remove them from what is learned from.
    `ignore` does not look for any."""
    threshold: float = Field(default=0.8, ge=0.5, le=0.99)
    """Jaccard similarity of their sets of shingles from which two documents are near."""
    shingle: int = Field(default=5, ge=1, le=50)
    """Words in a shingle."""
    permutations: int = Field(default=128, ge=16, le=512)
    """Length of a signature: the standard error of the similarity is at most half of the
    reciprocal of its square root."""
    documents: int = Field(default=100_000, ge=2)
    """At most so many documents are compared: those first in the order of their digests. Memory is
    about 2 KB for each."""


_WORD, _MAPPING = f"{FORM}word", f"{FORM}mapping"


def _form(source: Any) -> str:
    return _MAPPING if isinstance(source, Mapping | HubSource) else _WORD


class SourceConfig(Frozen):
    """Which documents, and how many of them are held out."""

    source: Annotated[
        Annotated[Source, Tag(_WORD)] | Annotated[HubSource, Tag(_MAPPING)], Discriminator(_form)
    ]
    """A corpus that comes along (`bbc_news`, `reviews`) or is on the hub (`ag_news`, `imdb`), the
    form of files of yours, or any data set of the hub."""
    directory: LocalPath | None = None
    """For source `directory`: holds one directory of `.txt` files for each label."""
    files: FilesConfig | None = None
    """For sources `text`, `jsonl`, `csv` and `parquet`, and for a `directory` elsewhere."""
    labels: Annotated[tuple[str, ...], Field(strict=False)] | None = None
    """Labels that documents may have: any other is an error. Without it: the labels found."""
    held_out: float = Field(default=0.05, ge=1e-9, lt=1.0)
    """Share of documents held out, by the hash of their text, where the source has no test set."""
    fold: int = Field(default=0, ge=0)
    """Which slice of the hashes is held out, counted from 0: `held_out: 0.2` has folds 0 to 4, and
    each document is held out in one of them."""
    not_utf8: NotUtf8 = "latin-1"
    """What to do with a document that is not UTF-8: stop, read it as Latin-1, put U+FFFD for what
    is wrong, or drop the document. All but the first are counted, and the first ones named."""
    bad_rows: BadRows = "refuse"
    """What to do with a row that is no document, such as one that is not JSON, or whose label is not
    allowed: stop, or drop it. Those dropped are counted by reason, and the first ones named."""
    bad_rows_limit: int = Field(default=1000, ge=0)
    """At most so many rows are dropped: more are an error."""

    @model_validator(mode="after")
    def _fold_is_there(self) -> "SourceConfig":
        folds = folds_of(self.held_out)
        if self.fold >= folds:
            raise ValueError(
                f"data.fold goes up to {folds - 1} with data.held_out: {self.held_out}, "
                f"not {self.fold}"
            )
        if isinstance(self.source, HubSource):
            own = self.source.held_out_split is not None
        else:
            own = self.source in OWN_TEST_SETS or bool(self.files and self.files.held_out_paths)
        if self.fold and own:
            raise ValueError(
                "data.fold goes with a source that has no test set of its own; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _keys_go_with_their_source(self) -> "SourceConfig":
        if self.directory is not None and self.source != "directory":
            raise ValueError("data.directory goes with data.source: directory, and only with it")
        if self.source == "directory" and (self.directory is None) == (self.files is None):
            raise ValueError(
                "data.directory goes with data.source: directory; give it or data.files, not both"
            )
        if self.source in FILE_SOURCES[1:] and self.files is None:
            raise ValueError(f"data.files goes with data.source: {self.source}, and is missing")
        if self.files is None:
            return self
        if self.source not in FILE_SOURCES:
            raise ValueError(f"data.files goes with data.source: {' or '.join(FILE_SOURCES)}")
        if self.files.delimiter != "," and self.source != "csv":
            raise ValueError("data.files.delimiter goes with data.source: csv")
        if self.files.label is not None and self.source not in _TABLES:
            raise ValueError(f"data.files.label goes with data.source: {' or '.join(_TABLES)}")
        return self

    @property
    def on_hub(self) -> bool:
        """Whether it is a data set of the hub."""
        return isinstance(self.source, HubSource) or self.source in OWN_TEST_SETS

    @property
    def name(self) -> str:
        """What errors and reports call the source."""
        return self.source.hub if isinstance(self.source, HubSource) else self.source

    @property
    def text(self) -> str | None:
        """Column or key of the text; None where documents have none."""
        if isinstance(self.source, HubSource):
            return self.source.text
        return self.files.text if self.files and self.source in _TABLES else None

    @property
    def label(self) -> str | None:
        """The same of the label."""
        if isinstance(self.source, HubSource):
            return self.source.label
        return self.files.label if self.files else None


class CorpusConfig(SourceConfig):
    """Documents that are surveyed and made into a token store."""

    near_duplicates: NearDuplicatesConfig = NearDuplicatesConfig()


Grouping: TypeAlias = Annotated[int, Field(ge=1, le=4096)] | Literal["balanced"]

_OF_DOCUMENTS = tuple(CorpusConfig.model_fields)
_OF_BATCHES = ("max_tokens", "grouping", "pad_to")
_OF_STORES = {"source", "store", *_OF_BATCHES}


class DataConfig(CorpusConfig):
    """What a model is trained on: documents, made into a token store, or a store that is there."""

    # Wider than a corpus's own: whoever reads documents takes `documents`, which is never a store.
    source: Annotated[  # type: ignore[assignment]
        Annotated[Literal[Source, "token_store"], Tag(_WORD)] | Annotated[HubSource, Tag(_MAPPING)],
        Discriminator(_form),
    ]
    """A corpus that comes along (`bbc_news`, `reviews`) or is on the hub (`ag_news`, `imdb`), the form
    of files of yours, any data set of the hub, or `token_store`."""
    store: LocalPath | None = None
    """For source `token_store`: one that `//data:prepare` made, with the model's tokenizer."""
    max_tokens: int = Field(ge=3, le=8192)
    """Length of each document for the model: longer ones are cut (and counted)."""
    grouping: Grouping | None = None
    """How the documents of a step are cut into micro-batches. `balanced`: so that all have about equally many tokens,
    and processes wait for each other the least. A number: steps in a window inside which documents of about equal
    length share a micro-batch, which lessens padding; 1 leaves them in the order of the epoch. Without it: `balanced`
    in portable arithmetic, which computes no padding, otherwise 16."""
    pad_to: int = Field(default=16, ge=1, le=8192)
    """A micro-batch is padded to the least multiple of this that holds its documents, or to
    `max_tokens`."""

    @property
    def settled_grouping(self) -> Grouping:
        """That of a run's own recipe, which says it; otherwise that of texts which are padded."""
        return self.grouping or 16

    @model_validator(mode="after")
    def _a_store_decides_the_rest(self) -> "DataConfig":
        if (self.store is None) == (self.source == "token_store"):
            raise ValueError("data.store goes with data.source: token_store, and only with it")
        decided = sorted(self.model_fields_set - _OF_STORES)
        if self.store is not None and decided:
            raise ValueError(
                f"data.{decided[0]} was decided when the store was made; leave it out, as in "
                "--set 'data={source: token_store, store: DIR, max_tokens: N}'"
            )
        return self

    @model_serializer(mode="wrap")
    def _nothing_that_a_store_decides(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = write(self)
        kept = _OF_STORES if self.store is not None else values.keys() - {"store"}
        return {key: value for key, value in values.items() if key in kept}

    @property
    def batches(self) -> dict[str, JSON]:
        """How documents become batches: what no store decides, and every result depends on."""
        return {key: getattr(self, key) for key in _OF_BATCHES}

    @property
    def documents(self) -> CorpusConfig:
        """The section without what is the model's alone.

        Raises:
            ValidationError: the source is a token store, which has no documents.
        """
        return CorpusConfig.model_validate({key: getattr(self, key) for key in _OF_DOCUMENTS})


def seal_settings(config: SourceConfig) -> dict[str, JSON]:
    """What the seal of prepared documents holds of their configuration.

    No paths (the seal holds the digest of what was read), no section `files` for a source that has
    none, and not whether a data set was streamed.
    """
    settings = for_seal(config)
    del settings["files"]
    if isinstance(config.source, HubSource):
        settings["source"] = config.source.model_dump(exclude={"streaming"})
    if config.files is not None:
        files = for_seal(config.files)
        for key in ("paths", "held_out_paths", "storage_options"):
            del files[key]
        settings["files"] = files
    return settings
