"""The formats of files: how each is read, and where it can be entered."""

from collections.abc import Iterator

from retort.data.config import FilesConfig
from retort.data.files.addresses import File
from retort.data.files.compression import ZIP
from retort.data.sources.csv_files import read_csv
from retort.data.sources.parquet_files import read_parquet, row_groups
from retort.data.sources.records import WHOLE, Reader, Span
from retort.data.sources.text_files import read_jsonl, read_text

_LINES = {("jsonl", "line"), ("jsonl", "file"), ("text", "line")}

READERS: dict[str, Reader] = {
    "text": read_text,
    "jsonl": read_jsonl,
    "csv": read_csv,
    "parquet": read_parquet,
}


def spans(source: str, file: File, config: FilesConfig, size: int) -> Iterator[tuple[Span, int]]:
    """A file cut where it can be entered, each span with its size in bytes.

    Args:
        size: bytes of a span, about.
    Raises:
        DataError: the file cannot be read.
    """
    whole = file.size
    if source == "parquet" and file.compression != ZIP:
        yield from row_groups(file, size)
    elif whole is None or file.compression or (source, config.document) not in _LINES:
        yield WHOLE, whole or 1
    else:
        for start in range(0, max(whole, 1), size):
            span = Span(start, start + size, None if start else 0)
            yield span, min(size, whole - start)
