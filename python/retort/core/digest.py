"""SHA-256 digests, and the one way that we turn data into bytes before hashing it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"


def sha256_bytes(data: bytes) -> str:
    """The digest of `data` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """The digest of a file's content, read in pieces: a file may be larger than memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: JSON) -> bytes:
    """Equal values give equal bytes: keys sorted, no white space, UTF-8.

    Raises:
        ValueError: NaN, an infinity, or a lone surrogate, none of which JSON can say.
        TypeError: something that is not JSON.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8")
