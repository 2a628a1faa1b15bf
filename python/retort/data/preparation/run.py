"""From raw text to a sealed token store with its report, in one call."""

import logging
from functools import partial
from pathlib import Path

from retort.core.config import for_seal
from retort.core.digest import JSON
from retort.core.errors import DataError
from retort.data.config import CorpusConfig
from retort.data.corpus.corpus import Corpus, survey
from retort.data.preparation.progress import show_progress
from retort.data.preparation.recipe import TokenizerTraining
from retort.data.preparation.tokenizer_training import texts_to_learn_from, train_tokenizer
from retort.data.preparation.writer import Written, write_store
from retort.data.reading.workers import LocalWorkers, Workers
from retort.data.store.store import REPORT, VALIDATION
from retort.data.tokenizers.spellings import SpecialInText

_log = logging.getLogger(__name__)


def prepare_store(
    out: Path,
    config: CorpusConfig,
    tokenizer: bytes | TokenizerTraining,
    *,
    special_in_text: SpecialInText = "text",
    workers: Workers | None = None,
) -> Written:
    """Read and tokenise documents, decide which of them stay, and seal store and report at `out`.

    Nothing is sealed before the documents have been found usable. A store that is at `out` already
    gives the tokens of the texts that it has.

    Args:
        tokenizer: content of a `tokenizer.json`, or how one is trained on these documents, which
            are read twice more for that.
        special_in_text: what is done with special tokens that texts spell.
        workers: who reads; without one, as many processes of this machine as are worth it.
    Raises:
        UserError: the documents, the tokenizer or `out` are not usable; nothing is sealed.
    """
    workers = workers or LocalWorkers()
    settings: dict[str, JSON] = {}
    learned_from: str | None = None
    if isinstance(tokenizer, TokenizerTraining):
        settings["tokenizer"] = for_seal(tokenizer)
        _log.info("training a tokenizer of %d tokens", tokenizer.vocabulary)
        corpus = survey(config, workers)
        learned_from = corpus.digest
        tokenizer = train_tokenizer(tokenizer, texts_to_learn_from(corpus, tokenizer.characters))
    with show_progress() as progress:
        return write_store(
            out,
            config,
            tokenizer,
            workers=workers,
            settings=settings,
            special_in_text=special_in_text,
            progress=progress,
            extra=partial(_report, learned_from=learned_from),
        )


def _report(corpus: Corpus, learned_from: str | None) -> dict[str, bytes]:
    if learned_from not in (None, corpus.digest):
        raise DataError(
            "the source has changed since a tokenizer was trained on it; start again when nobody "
            "writes to it"
        )
    from retort.data.corpus.report import (
        render,  # its pictures take long to import, and much memory
    )

    return {
        VALIDATION: corpus.validation.to_json(),
        REPORT: render(corpus).encode("utf-8"),
    }
