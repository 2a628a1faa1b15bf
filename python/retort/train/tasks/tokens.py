"""The tokens of a run: made inside it from documents, or those of a store that is there."""

from pathlib import Path

from retort.core.errors import DataError
from retort.data.config import DataConfig
from retort.data.preparation.recipe import TokenizerTraining
from retort.data.preparation.run import prepare_store
from retort.data.store.store import TokenStore
from retort.data.tokenizers.spellings import SpecialInText

TRAIN = "train"


def make_tokens(
    config: DataConfig,
    tokenizer: bytes | TokenizerTraining,
    target: Path,
    special_in_text: SpecialInText = "text",
) -> None:
    """Make the store of a run, unless its recipe names one, or the run has it already.

    A run that goes on keeps to the tokens that it began with, whatever became of the documents.

    Args:
        tokenizer: content of a `tokenizer.json`, or how it is trained on the documents.
        special_in_text: what is done with special tokens that texts spell.
    Raises:
        DataError, HubUnavailable: the documents cannot be had, or cannot be learned from.
        StorageError: the disk is full or permission is missing.
    """
    if config.store is None and not target.exists():
        prepare_store(target, config.documents, tokenizer, special_in_text=special_in_text)


def open_tokens(
    config: DataConfig, target: Path, *, tokenizer: bytes | None, labelled: bool
) -> TokenStore:
    """A verified store.

    Args:
        target: where `make_tokens` made it.
        tokenizer: of the pretrained weights, if there are any.
        labelled: its task needs labels.
    Raises:
        DataError: the store has another tokenizer, or no labels where they are needed.
        SealError: the store is not sealed, truncated, altered, or not a token store.
    """
    store = TokenStore.open(config.store or target, tokenizer=tokenizer)
    if labelled and not store.labels:
        raise DataError(
            f"{config.store or config.name}: its documents have no labels, and the task needs "
            "them; give data.files.label, or label of data.source, when it is prepared"
        )
    return store
