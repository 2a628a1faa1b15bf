"""The tokens of a run: made inside it from documents, or those of a store that is there."""

from pathlib import Path

from retort.core.errors import DataError
from retort.data.config import DataConfig
from retort.data.preparing import prepare_store
from retort.data.store import TokenStore

TRAIN = "train"


def open_tokens(config: DataConfig, tokenizer: bytes, target: Path) -> TokenStore:
    """A verified store for a classifier.

    Args:
        tokenizer: content of the `tokenizer.json` of the pretrained weights.
        target: where the store is made, if the configuration does not name one.
    Raises:
        DataError, HubUnavailable: the documents cannot be had, or cannot be learned from; or the
            store has another tokenizer, or no labels.
        SealError: the store is not sealed, truncated, altered, or not a token store.
        StorageError: the disk is full or permission is missing.
    """
    if config.store is None:
        prepare_store(target, config.documents, tokenizer)
    store = TokenStore.open(config.store or target, tokenizer=tokenizer)
    if not store.labels:
        raise DataError(
            f"{config.store or config.source}: its documents have no labels, and a classifier needs "
            "them; give data.files.label when it is prepared"
        )
    return store
