"""Shards of a token store: where one ends, what is in its file, and how it is read and written.

A shard ends where the digest of a document says so (content-defined chunking, as in Muthitacharoen
and others, "A Low-bandwidth Network File System", 2001), so that an insertion or an append changes
only the shards near it. Its file is, all little-endian:

    header      64 bytes: `RTKSHARD`, int64 documents, slots, bytes of a slot, 32 bytes input
    offsets     int64 [documents + 1], in slots
    digests     16 bytes [documents], the first half of the SHA-256 of each document's text
    labels      int32 [documents], -1 without a label
    slots       uint16 or uint32 [slots], the token numbers

Each document is followed by one more slot with the boundary token, so that a block of a language
model is one piece of memory. Document i is `slots[offsets[i] : offsets[i + 1] - 1]`.
"""

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retort.core.errors import SealError
from retort.data.store.keys import positions

DIGEST_BYTES = 16
_HEADER = struct.Struct("<8sqqq32s")
_MAGIC = b"RTKSHARD"
UNLABELLED = -1


@dataclass(frozen=True)
class ShardSizes:
    """Bytes of text in a shard: none is cut below `least`, and all are at `most`.

    The mean is near `least + spread`. One document may be larger than `most`.
    """

    least: int = 512 << 10
    spread: int = 1536 << 10
    most: int = 8 << 20

    def cut(self, keys: NDArray[np.uint8], sizes: NDArray[np.int64]) -> list[tuple[int, int]]:
        """First document and end of each shard.

        Args:
            keys: uint8 [documents, 24], the first bytes of the SHA-256 of each text.
            sizes: int64 [documents], bytes of each text.
        """
        place = positions(keys) / 2.0**64
        may_end = np.flatnonzero(place < np.maximum(sizes, 1) / self.spread)
        filled = np.cumsum(sizes)
        shards, start, before = [], 0, 0
        while start < len(sizes):
            long_enough = int(np.searchsorted(filled, before + self.least))
            too_long = int(np.searchsorted(filled, before + self.most))
            choice = int(np.searchsorted(may_end, long_enough))
            chosen = int(may_end[choice]) if choice < len(may_end) else len(sizes) - 1
            last = min(chosen, too_long, len(sizes) - 1)
            shards.append((start, last + 1))
            start, before = last + 1, int(filled[last])
        return shards


@dataclass(frozen=True)
class ShardFacts:
    """What `store.json` says about a shard.

    Attributes:
        sha256: of its file, which is also its name.
        input: digest of what it was made from: tokenizer, documents and labels.
        tokens: number of tokens, boundaries not counted.
    """

    sha256: str
    input: str
    documents: int
    tokens: int

    @property
    def file(self) -> str:
        """Path within the store."""
        return f"shards/{self.sha256}.tokens"


@dataclass(frozen=True)
class Shard:
    """A shard mapped into memory; the arrays are read-only views of its file."""

    offsets: NDArray[np.int64]
    digests: NDArray[np.uint8]
    labels: NDArray[np.int32]
    slots: NDArray[Any]
    input: str

    @property
    def tokens(self) -> int:
        """Number of tokens, boundaries not counted."""
        return len(self.slots) - len(self.labels)

    def document(self, number: int) -> NDArray[Any]:
        """The token numbers of one document."""
        return self.slots[self.offsets[number] : self.offsets[number + 1] - 1]


def shard_input(
    recipe: bytes, part: str, keys: NDArray[np.uint8], labels: NDArray[np.int32]
) -> str:
    """The digest of all that decides a shard's bytes, and of its part.

    Args:
        recipe: what holds for the whole store: tokenizer, format, boundary.
        keys: uint8 [documents, 24], the first bytes of the SHA-256 of each text.
        labels: int32 [documents].
    """
    digest = hashlib.sha256(recipe + part.encode("utf-8") + b"\0")
    digest.update(np.ascontiguousarray(keys).data)
    digest.update(labels.astype("<i4").data)
    return digest.hexdigest()


def shard_content(
    keys: NDArray[np.uint8],
    labels: NDArray[np.int32],
    lengths: NDArray[np.int64],
    slots: NDArray[Any],
    given: str,
) -> list[bytes]:
    """The content of a shard's file, in pieces.

    Args:
        keys: uint8 [documents, 16 or more], the first bytes of the SHA-256 of each text.
        lengths: int64 [documents], tokens of each.
        slots: the tokens of all, of the store's dtype, each document's followed by the boundary.
        given: the shard's `shard_input`.
    """
    offsets = np.zeros(len(lengths) + 1, "<i8")
    np.cumsum(lengths + 1, out=offsets[1:])
    header = _HEADER.pack(
        _MAGIC, len(lengths), len(slots), slots.dtype.itemsize, bytes.fromhex(given)
    )
    digests = np.ascontiguousarray(keys[:, :DIGEST_BYTES]).tobytes()
    return [header, offsets.tobytes(), digests, labels.astype("<i4").tobytes(), slots.tobytes()]


def map_shard(path: Path) -> Shard:
    """Map a shard's file and check its form.

    Raises:
        SealError: it is not a shard of ours.
    """
    return _parse(path, _map(path))


def read_shard(path: Path) -> Shard:
    """A shard's file read into memory, its form checked; raises as `map_shard`."""
    try:
        return _parse(path, np.fromfile(path, np.uint8))
    except OSError as error:
        raise SealError(f"{path}: cannot be read: {error.strerror}") from error


def _parse(path: Path, content: NDArray[np.uint8]) -> Shard:
    try:
        magic, documents, slots, width, given = _HEADER.unpack(content[: _HEADER.size].tobytes())
        if magic != _MAGIC or width not in (2, 4) or documents < 1 or slots < documents:
            raise ValueError("its header is not one of ours")
        at = _HEADER.size
        offsets = content[at : at + 8 * (documents + 1)].view("<i8")
        at += offsets.nbytes
        digests = content[at : at + DIGEST_BYTES * documents].reshape(documents, DIGEST_BYTES)
        at += digests.nbytes
        labels = content[at : at + 4 * documents].view("<i4")
        tokens = content[at + labels.nbytes :].view(f"<u{width}")
        if len(tokens) != slots or offsets[0] != 0 or offsets[-1] != slots:
            raise ValueError("its parts do not add up to its size")
        if np.diff(offsets).min() < 1:
            raise ValueError("its offsets do not rise")
    except (ValueError, IndexError, struct.error) as error:
        raise SealError(f"{path}: is not a shard of a token store: {error}") from error
    return Shard(offsets, digests, labels, tokens, given.hex())


def shard_facts(path: Path, sha256: str) -> ShardFacts:
    """What the header of a shard's file says, the file being whole (its digest was checked)."""
    with path.open("rb") as file:
        _, documents, slots, _, given = _HEADER.unpack(file.read(_HEADER.size))
    return ShardFacts(sha256, given.hex(), documents, slots - documents)


def _map(path: Path) -> NDArray[np.uint8]:
    """A file's bytes, mapped read-only. The pages are read when they are used."""
    import torch  # whose mapping needs no open file: a store may have more shards than those allowed

    try:
        size = path.stat().st_size
        mapped = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)
    except (OSError, RuntimeError) as error:
        raise SealError(f"{path}: cannot be mapped into memory: {error}") from error
    content: NDArray[np.uint8] = mapped.numpy()
    content.flags.writeable = False
    return content
