"""Zip archives and compressed files: all that is in them is read, or what they are is named."""

import bz2
import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow  # type: ignore[import-untyped]
import pytest
from pyarrow import parquet

from retort.core.errors import DataError
from retort.data.config import CorpusConfig
from retort.data.files.decoding import Decoder
from retort.data.sources.pieces import cut
from retort.data.sources.read import stream_documents


def config(source: str, *files: Path, **keys: str) -> CorpusConfig:
    paths = [str(file) for file in files]
    return CorpusConfig.model_validate({"source": source, "files": {"paths": paths, **keys}})


def texts(source: str, *files: Path, **keys: str) -> list[str]:
    return [one.text for one in stream_documents(config(source, *files, **keys))]


def zstd(data: bytes) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def write_zip(file: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@pytest.mark.parametrize("method", METHODS)
def test_every_member_of_a_zip_is_read_in_the_order_of_names(tmp_path: Path, method: int) -> None:
    members = {
        "b/2.txt": b"four\nfive",
        "b-a.txt": b"three",
        "a.txt": b"one\ntwo\n",
        "b/": b"",
        "__MACOSX/._a.txt": b"\0\5\x16\7",
        "empty.txt": b"",
    }
    file = write_zip(tmp_path / "x.zip", members, method)
    assert texts("text", file) == ["one", "two", "four", "five", "three"]
    decoder = Decoder("refuse")
    list(stream_documents(config("text", file), decoder))
    assert decoder.tally.left_out == {"of macOS, in an archive": 1}
    whole = texts("text", file, document="file")
    assert whole == ["one\ntwo\n", "four\nfive", "three", ""]


def test_members_of_every_format_are_read(tmp_path: Path) -> None:
    table = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": ["x", "y"]}), table, row_group_size=1)
    for source, first, second in [
        ("csv", b"text\nx\n", b"text\ny\n"),
        ("jsonl", b'{"text": "x"}\n', b'{"text": "y"}'),
        ("parquet", table.getvalue(), table.getvalue()),
    ]:
        file = write_zip(tmp_path / f"{source}.zip", {"one": first, "two": second})
        expected = ["x", "y"] * (2 if source == "parquet" else 1)
        assert texts(source, file) == expected
        assert len(cut(config(source, file), 1)) == 1


def test_a_place_in_an_archive_is_named_with_its_member(tmp_path: Path) -> None:
    file = write_zip(tmp_path / "x.zip", {"in/a.jsonl": b'{"text": "x"}\n', "in/b.jsonl": b"[]"})
    with pytest.raises(DataError, match=r"x\.zip/in/b\.jsonl: row 1 is not a JSON object"):
        texts("jsonl", file)
    write_zip(file, {"in/a.jsonl": b'{"text": "x"}\n', "in/\x1b[31m\n.jsonl": b'{"text": "\xff"}'})
    decoder = Decoder("latin-1")
    list(stream_documents(config("jsonl", file), decoder))
    assert [one.file for _, one in decoder.tally.places] == [r"x.zip/in/\x1b[31m\n.jsonl"]


def encrypted(file: Path) -> None:
    content = bytearray(file.read_bytes())
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(magic) + offset] |= 1
    file.write_bytes(content)


def method_of_its_own(file: Path) -> None:
    content = bytearray(file.read_bytes())
    for magic, offset in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        content[content.index(magic) + offset] = 9
    file.write_bytes(content)


def overlapping(file: Path) -> None:
    """Two members whose bytes are the same."""
    content = file.read_bytes()
    directory = content.index(b"PK\1\2")
    end = content.index(b"PK\5\6")
    entry = content[directory:end]
    other = bytearray(entry)
    other[46] = ord("b")
    tail = bytearray(content[end:])
    struct.pack_into("<HHI", tail, 8, 2, 2, 2 * len(entry))
    file.write_bytes(content[:directory] + entry + bytes(other) + bytes(tail))


def test_a_zip_that_cannot_be_read_whole_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    changes: list[tuple[Callable[[Path], object], str]] = [
        (encrypted, r"x\.zip/a\.txt: is encrypted"),
        (method_of_its_own, r"x\.zip/a\.txt: is compressed by method 9"),
        (overlapping, r"x\.zip: its members overlap"),
        (lambda file: file.write_bytes(file.read_bytes()[:40]), r"x\.zip: cannot be read: "),
    ]
    for change, message in changes:
        write_zip(file, {"a.txt": bytes(range(32, 127)) * 2}, zipfile.ZIP_STORED)
        change(file)
        with pytest.raises(DataError, match=message) as caught:
            texts("text", file)
        assert "\n" not in str(caught.value)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "one")
        archive.writestr("a.txt", "two")
    with pytest.raises(DataError, match=r"x\.zip/a\.txt: is twice in the archive"):
        texts("text", file)


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz", "zst", "zip"])
def test_what_holds_far_more_than_its_size_is_refused(tmp_path: Path, ending: str) -> None:
    content = (b"a" * 1000 + b"\n") * (40 << 10)
    file = tmp_path / f"x.{ending}"
    if ending == "zip":
        write_zip(file, {"a": content})
    else:
        file.write_bytes(PACKED[ending](content))
    with pytest.raises(DataError, match=rf"x\.{ending}: holds over 200 times its size"):
        for _ in stream_documents(config("text", file)):
            pass


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd,
}


@pytest.mark.parametrize("ending", PACKED)
def test_a_damaged_stream_behind_another_is_not_the_end(tmp_path: Path, ending: str) -> None:
    first, second = (PACKED[ending](b"%d\n" % number * 9000) for number in range(2))
    file = tmp_path / f"x.{ending}"
    file.write_bytes(first + second)
    assert texts("text", file) == ["0"] * 9000 + ["1"] * 9000
    file.write_bytes(first + b"XX" + second[2:])
    with pytest.raises(DataError, match=rf"x\.{ending}: cannot be read: "):
        texts("text", file)
    file.write_bytes(first + second[:-5])
    with pytest.raises(DataError, match=rf"x\.{ending}: cannot be read: "):
        texts("text", file)
    if ending != "zst":
        file.write_bytes(first + bytes(1 << 17) + second + bytes(512))
        assert len(texts("text", file)) == 18000


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz"])
def test_a_packed_table_is_entered_anywhere(tmp_path: Path, ending: str) -> None:
    table = io.BytesIO()
    given = [f"text {number * number}" for number in range(3000)]
    parquet.write_table(pyarrow.table({"text": given}), table, row_group_size=500)
    content = table.getvalue()
    file = tmp_path / f"x.parquet.{ending}"
    file.write_bytes(PACKED[ending](content[:9000]) + PACKED[ending](content[9000:]))
    assert texts("parquet", file) == given


def test_archives_one_behind_the_other_are_refused(tmp_path: Path) -> None:
    first, second = (write_zip(tmp_path / name, {name: b"text"}) for name in ("a", "b"))
    file = tmp_path / "both.zip"
    for empty in (False, True):
        end = write_zip(tmp_path / "none", {}) if empty else second
        file.write_bytes(first.read_bytes() + end.read_bytes())
        with pytest.raises(DataError, match=r"both\.zip: its list of members leaves out"):
            texts("text", file)


def test_zstd_is_read_in_one_frame_or_several(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl.zst"
    file.write_bytes(zstd(b'{"text": "one"}\n') + zstd(b'{"text": "two"}\n'))
    assert texts("jsonl", file) == ["one", "two"]
    content = zstd(b"".join(b'{"text": "%d"}\n' % number for number in range(5000)))
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"x\.jsonl\.zst: cannot be read: "):
        texts("jsonl", file)


FOREIGN = {
    "lz4": b"\x04\x22\x4d\x18\x64\x40\xa7\x05\x00\x00\x80hello",
    "snappy": b"\xff\x06\0\0sNaPpY\x01\x09\0\0",
    "7z": b"7z\xbc\xaf\x27\x1c\0\4",
    "rar": b"Rar!\x1a\x07\x01\0",
    "compress (.Z)": b"\x1f\x9d\x90h\xca",
    "tar": b"a.txt".ljust(257, b"\0") + b"ustar\0" + b"00",
    "lzip": b"LZIP\1\x0c",
    "zlib": zlib.compress(b"text text text"),
    "lha": b"\x21\x7a-lh5-text",
    "zstd": zstd(b"text"),
    "gzip": gzip.compress(b"text"),
    "bzip2": bz2.compress(b"text"),
    "xz": lzma.compress(b"text"),
    "zip": b"PK\3\4\x14\0",
}


@pytest.mark.parametrize("source", ["text", "jsonl", "csv", "parquet"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_packed_and_does_not_say_so_is_refused_by_name(
    tmp_path: Path, kind: str, source: str
) -> None:
    file = tmp_path / "file.txt"
    file.write_bytes(FOREIGN[kind])
    with pytest.raises(DataError) as caught:
        texts(source, file)
    assert str(caught.value).startswith(f"{file}: is {kind}, ")
    for ending, pack in PACKED.items():
        packed = tmp_path / f"file.{ending}"
        packed.write_bytes(pack(FOREIGN[kind]))
        with pytest.raises(DataError, match="unpack it"):
            texts("text", packed)
    write_zip(tmp_path / "file.zip", {"inner": FOREIGN[kind]})
    with pytest.raises(DataError, match=r"file\.zip/inner: holds .* inside zip"):
        texts("text", tmp_path / "file.zip")


def test_brotli_has_no_first_bytes_and_is_known_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "x.br"
    file.write_bytes(b"\x0b\x02\x80hello\x03")
    with pytest.raises(DataError, match=r"x\.br: is brotli, which is not read"):
        texts("text", file)
    file.write_text("ur frazenn e brezhoneg: demat d'an holl \u00f1")
    assert len(texts("text", file)) == 1


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz", "zst", "zip"])
def test_an_empty_file_is_not_a_compressed_one(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"x.{ending}").write_bytes(b"")
    with pytest.raises(DataError, match=rf"x\.{ending}: cannot be read: is empty"):
        texts("text", tmp_path / f"x.{ending}")
