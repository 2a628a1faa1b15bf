"""Files of lines: plain text and JSON, and files that are one document."""

import json
from collections.abc import Iterator, Sequence

import orjson

from retort.core.config import nearest
from retort.core.errors import DataError
from retort.data.config import FilesConfig
from retort.data.files.addresses import File
from retort.data.files.decoding import BadRow, Decoder, Where
from retort.data.sources.records import BUFFER, LARGEST, Record, Span, label_of, lines_of, some


def read_whole(file: File, decoder: Decoder) -> Iterator[Record]:
    """A file that is one document. Line ends stay: a document is what its bytes say."""
    where = Where(file.address, file.name)
    with file.open() as stream:
        content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise DataError(f"{where}: is one document of over {LARGEST >> 20} MiB; divide it")
    try:
        text = decoder.decode(content, where)
    except BadRow as error:
        decoder.drop(error, where)
        return
    if text is not None:
        yield Record(text, None, where)


def read_text(file: File, config: FilesConfig, decoder: Decoder, span: Span) -> Iterator[Record]:
    """Plain text: a document a file, or a line (without its end)."""
    if config.document == "file":
        yield from read_whole(file, decoder)
        return
    with file.open(from_start=span.start == 0) as stream:
        for where, line in lines_of(stream, file, span):
            try:
                text = decoder.decode(line.rstrip(b"\r\n"), where)
            except BadRow as error:
                decoder.drop(error, where)
                continue
            if text is not None:
                yield Record(text, None, where)


def read_jsonl(file: File, config: FilesConfig, decoder: Decoder, span: Span) -> Iterator[Record]:
    """One JSON object a line."""
    key, label_key = config.text, config.label
    with file.open(from_start=span.start == 0) as stream:
        for where, line in lines_of(stream, file, span):
            # orjson reads what is plainly right; whatever it refuses is looked at with care.
            try:
                value = orjson.loads(line)
                text = value[key]
                label = None if label_key is None else value[label_key]
            except (ValueError, KeyError, TypeError, IndexError):
                text = label = None
            if type(label) is int:
                label = str(label)
            if type(text) is str and (label_key is None or (type(label) is str and label)):
                yield Record(text, label, where)
            else:
                if not line.strip():
                    decoder.tally.blank += 1
                    continue
                try:
                    record = _json_record(line, config, decoder, where)
                except BadRow as error:
                    decoder.drop(error, where)
                    continue
                if record is not None:
                    yield record


def _json_record(line: bytes, config: FilesConfig, decoder: Decoder, where: Where) -> Record | None:
    decoded = decoder.decode(line, where)
    if decoded is None:
        return None
    try:
        value = json.loads(decoded)
    except (ValueError, RecursionError) as error:
        raise BadRow(f"{where} is not JSON: {error}", "not JSON") from error
    if not isinstance(value, dict):
        raise BadRow(f"{where} is not a JSON object", "not a JSON object")
    for key in (config.text, config.label):
        if key is not None and key not in value:
            hint = nearest(key, some(sorted(value)))
            raise BadRow(f"{where} has no key {key!r}{hint}", f"no key {key!r}")
    label = label_of(value, config.label, where)
    text = _text(value[config.text], config.text, where)
    kept = decoder.without_surrogates(text, where)
    return None if kept is None else Record(kept, label, where)


def rows_before(file: File, starts: Sequence[int]) -> list[int]:
    """How many lines of a file begin before each of some bytes, which rise from 1 or more."""
    counts = []
    count, at = 1, 0
    with file.open() as stream:
        for start in starts:
            while at < start - 1 and (block := stream.read(min(start - 1 - at, BUFFER))):
                count += block.count(b"\n")
                at += len(block)
            counts.append(count)
    return counts


def _text(value: object, key: str, where: Where) -> str:
    if not isinstance(value, str):
        shown = json.dumps(value)[:40]
        raise BadRow(f"{where}: {key!r} is not text but {shown}", f"{key!r} is not text")
    return value
