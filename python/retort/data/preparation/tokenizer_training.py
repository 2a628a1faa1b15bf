"""A tokenizer trained on the documents: the same bytes from the same documents, always.

Byte-level BPE as GPT-2 has it (Radford et al. 2019), or WordPiece as BERT has it (Devlin et al.
2019) with its vocabulary found by BPE. The `tokenizers` library merges the most frequent pair of
symbols, and of equally frequent ones that of the smallest numbers. So its result is decided by
the counts of words, whatever their order and however many threads there are, as soon as the
symbols that it starts from have fixed numbers: it would number WordPiece's `##a` in the order of
a hash table, and so they are given to it. That a pair comes up once only, and its place in the
library's queue therefore is decided, holds because equal text between two borders that no merge
has crossed is always merged in the same way.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from retort.core.errors import DataError
from retort.data.corpus.corpus import Corpus
from retort.data.corpus.verdicts import PART_OF_VERDICT, TRAIN
from retort.data.preparation.recipe import END_OF_TEXT, TokenizerTraining
from retort.data.preparation.word_counts import count_words
from retort.data.reading.chunks import Columns
from retort.data.store.keys import halves

BERT_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_PREFIX = "##"
_LONGEST = 100
"""Characters of the longest word that WordPiece looks at, in BERT as here."""
_SYMBOLS = 3_000_000
"""Characters of all distinct words that are learned from. The library takes about 100 bytes for
each; 100 MB of program text have 2.2 million."""
_BLOCK = 1 << 14
"""Characters of the texts that words are given to the library in."""


def learned_characters(
    columns: Columns, learned: NDArray[np.bool_], limit: int
) -> NDArray[np.int64]:
    """How many characters of each document's beginning a tokenizer is trained on.

    Documents count in the order of their digests, which is as good as chance and the same for
    any order of the source, until there are `limit` characters; the last one is cut.

    Args:
        learned: bool [documents], those that may be learned from: the train part's, no copies.
        limit: characters in all.
    Returns:
        [documents], 0 where nothing is learned from the document.
    """
    high, low = halves(columns.keys)
    numbers = np.flatnonzero(learned)
    order = numbers[np.lexsort((low[numbers], high[numbers]))]
    lengths = columns.characters[order].astype(np.int64)
    before = np.cumsum(lengths) - lengths
    taken = np.zeros(len(learned), np.int64)
    taken[order] = np.clip(limit - before, 0, lengths)
    return taken


def texts_to_learn_from(corpus: Corpus, limit: int) -> Iterator[str]:
    """The texts of a corpus that a tokenizer is trained on, read again: `learned_characters`.

    Raises:
        DataError: the source is not as it was when it was first read.
    """
    taken = learned_characters(corpus.columns, corpus.verdicts == TRAIN, limit)
    stays = np.flatnonzero(np.isin(corpus.verdicts, list(PART_OF_VERDICT)))
    for number, document in zip(stays.tolist(), corpus.documents(), strict=True):
        if taken[number]:
            yield document.text[: taken[number]]


def train_tokenizer(config: TokenizerTraining, texts: Iterable[str]) -> bytes:
    """The content of a `tokenizer.json`, the same for any order of the texts.

    Args:
        texts: to learn from, read once; see `texts_to_learn_from`. Their words are
            counted in bounded memory; of more than a bounded number the rarest are left out.
    Raises:
        DataError: there are no words, the vocabulary does not hold the characters that there
            are, or the words do not give so large a vocabulary; the size that fits is named.
        StorageError: the temporary directory is full.
    """
    return (_train_bpe if config.model == "bpe" else _train_wordpiece)(config, texts)


def _train_bpe(config: TokenizerTraining, texts: Iterable[str]) -> bytes:
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)

    def words_of(chunk: str) -> Iterator[str]:
        return (word for word, _ in split.pre_tokenize_str(chunk))

    words = _count(texts, words_of)
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary,
        min_frequency=config.min_frequency,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model = _learn(models.BPE(), trainer, words, config)
    merges = [tuple(pair) for pair in model["merges"]]
    tokenizer = Tokenizer(models.BPE(model["vocab"], merges))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer.to_str().encode("utf-8")


def _train_wordpiece(config: TokenizerTraining, texts: Iterable[str]) -> bytes:
    normalizer = normalizers.BertNormalizer(lowercase=bool(config.lowercase))
    split = pre_tokenizers.BertPreTokenizer()

    def words_of(chunk: str) -> Iterator[str]:
        found = split.pre_tokenize_str(normalizer.normalize_str(chunk))
        return (word for word, _ in found if len(word) <= _LONGEST)

    words = _count(texts, words_of)
    known = _known_characters(words, config.min_frequency)
    words = {word: count for word, count in words.items() if known.issuperset(word)}
    within = sorted({character for word in words for character in word[1:]})
    first = [*BERT_TOKENS, *sorted(known), *(_PREFIX + character for character in within)]
    if len(first) > config.vocabulary:
        raise DataError(
            f"tokenizer.train.vocabulary {config.vocabulary} is too small: the documents have "
            f"{len(known)} characters, which are {len(first)} tokens at the beginning of words "
            "and within; make it larger, or raise tokenizer.train.min_frequency"
        )
    trainer = trainers.WordPieceTrainer(
        vocab_size=config.vocabulary,
        min_frequency=config.min_frequency,
        special_tokens=first,
        continuing_subword_prefix=_PREFIX,
        show_progress=False,
    )
    vocabulary = _learn(models.WordPiece(unk_token="[UNK]"), trainer, words, config)["vocab"]
    tokenizer = Tokenizer(
        models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=_LONGEST)
    )
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.WordPiece(prefix=_PREFIX)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.add_special_tokens(list(BERT_TOKENS))
    return tokenizer.to_str().encode("utf-8")


def _count(texts: Iterable[str], words_of: Callable[[str], Iterable[str]]) -> dict[str, int]:
    words = count_words(texts, words_of, _SYMBOLS)
    if not words:
        raise DataError("there are no words to train a tokenizer on; give documents with text")
    return words


def _known_characters(words: Mapping[str, int], min_frequency: int) -> set[str]:
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    return {character for character, count in counts.items() if count >= min_frequency}


def _learn(
    model: models.Model,
    trainer: trainers.Trainer,
    words: Mapping[str, int],
    config: TokenizerTraining,
) -> dict[str, Any]:
    """The definition of the model that the library learns from counted words."""
    learner = Tokenizer(model)
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    learner.train_from_iterator(_repeated(words), trainer)
    learned: dict[str, Any] = json.loads(learner.to_str())["model"]
    reached = len(learned["vocab"])
    if reached < config.vocabulary:
        raise DataError(
            f"tokenizer.train.vocabulary {config.vocabulary} is too large: the documents give "
            f"{reached} tokens at tokenizer.train.min_frequency {config.min_frequency}; make it "
            f"{reached} or less, or give more documents"
        )
    return learned


def _repeated(words: Mapping[str, int]) -> Iterator[str]:
    """Texts that hold each word as often as it was counted: the library takes no counts."""
    block: list[str] = []
    size = 0
    for word, count in words.items():
        spaced = f"{word} "
        most = max(1, _BLOCK // len(spaced))
        for start in range(0, count, most):
            block.append(spaced * min(most, count - start))
            size += len(block[-1])
            if size >= _BLOCK:
                yield "".join(block)
                block.clear()
                size = 0
    yield "".join(block)
