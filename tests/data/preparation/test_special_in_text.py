"""Special tokens that texts spell: counted, named, and read as the recipe says, by all who read."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from retort.core.errors import DataError
from retort.data.config import CorpusConfig
from retort.data.corpus.corpus import Corpus
from retort.data.corpus.report import render
from retort.data.preparation.writer import Written, write_store
from retort.data.sources.documents import Document
from retort.data.store.store import TokenStore
from retort.data.tokenizers.choose import encoder_for
from retort.data.tokenizers.library import load_tokenizer
from retort.data.tokenizers.special_tokens import PADDING, special_tokens
from retort.data.tokenizers.spellings import SpecialInText, Spellings
from retort.data.tokenizers.text_encoder import TextEncoder
from tests.tiny.store import (
    bbc_news,
    bert_tokenizer,
    byte_level_tokenizer,
    documents,
    write_corpus,
)

TEXT = "bye [SEP] [CLS] hi [SEP], said the [sep]"
GIVEN = [*documents(100), Document(TEXT, "tech", "train"), Document("[MASK]!", "tech", "held_out")]
POLICIES: tuple[SpecialInText, ...] = ("text", "special")


def write(path: Path, policy: SpecialInText, tokenizer: bytes | None = None) -> Written:
    config = write_corpus(path.with_name(f"{path.name}-corpus"), GIVEN)
    return write_store(path, config, tokenizer or bert_tokenizer(), special_in_text=policy)


def ids_of(store: TokenStore) -> list[list[int]]:
    return [
        part.document(number).tolist()
        for part in store.parts.values()
        for number in range(len(part))
    ]


@pytest.mark.parametrize("policy", POLICIES)
def test_they_are_counted_named_and_read_as_the_recipe_says(
    tmp_path: Path, policy: SpecialInText
) -> None:
    written = write(tmp_path / "store", policy)
    special = written.corpus.validation.special
    assert special is not None
    assert (special.policy, special.documents) == (policy, 2)
    assert special.tokens == {"[CLS]": 1, "[MASK]": 1, "[SEP]": 2}
    assert [(one.file, one.row) for one in special.places] == [
        ("train-000.jsonl", 1 + sum(one.part == "train" for one in GIVEN[:100])),
        ("held_out-000.jsonl", 1 + sum(one.part == "held_out" for one in GIVEN[:100])),
    ]
    store = TokenStore.open(tmp_path / "store")
    boundary = store.facts.special.boundary
    assert sum(ids.count(boundary or 0) for ids in ids_of(store)) == (
        2 if policy == "special" else 0
    )
    assert store.facts.special_in_text == policy
    assert store.sealed.manifest.config["special_in_text"] == policy
    shown = render(written.corpus)
    assert "Special tokens in texts" in shown
    assert any("spell special tokens" in one for one in written.corpus.validation.warnings) == (
        policy == "special"
    )


def test_they_can_be_refused_by_their_place(tmp_path: Path) -> None:
    row = 1 + sum(one.part == "train" for one in GIVEN[:100])
    wanted = rf"train-000\.jsonl: row {row}: spells the special token '\[SEP\]'"
    with pytest.raises(DataError, match=wanted):
        write(tmp_path / "store", "refuse")
    assert not (tmp_path / "store").exists()


def test_tokens_of_another_policy_are_not_reused(tmp_path: Path) -> None:
    write(tmp_path / "store", "special")
    again = write(tmp_path / "store", "text")
    assert again.reused == 0
    write(tmp_path / "fresh", "text")
    assert ids_of(TokenStore.open(tmp_path / "store")) == ids_of(
        TokenStore.open(tmp_path / "fresh")
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_the_server_reads_texts_as_the_store_does(tmp_path: Path, policy: SpecialInText) -> None:
    write(tmp_path / "store", policy)
    store = TokenStore.open(tmp_path / "store")
    tokenise = TextEncoder(store.tokenizer, 64).reading(store.facts.special_in_text)
    texts = {Document(one.text).digest[:32]: one.text for one in GIVEN}
    for part in store.parts.values():
        for number in range(len(part)):
            served = tokenise.encode([texts[part.digest(number)]])
            count = int(served.mask.sum())
            assert served.ids[0, 1 : count - 1].tolist() == part.document(number).tolist()


NAMES = ["<pad>", "<s>", "</s>", "<unk>"]
LETTERS = ["a", "b", "s", "\u2581", "<", ">", "/", "##s", "##>", "##/"]
WORD_NUMBERS = {word: number for number, word in enumerate(NAMES + LETTERS)}
WORD_MODELS = {
    "Unigram": models.Unigram([(word, -float(word in LETTERS)) for word in WORD_NUMBERS], 3),
    "WordPiece": models.WordPiece(WORD_NUMBERS, unk_token="<unk>"),
    "WordLevel": models.WordLevel(WORD_NUMBERS, unk_token="<unk>"),
}


@pytest.mark.parametrize("kind", WORD_MODELS)
def test_a_special_token_that_is_a_word_of_the_model_is_its_characters(kind: str) -> None:
    tokenizer = Tokenizer(WORD_MODELS[kind])
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([*NAMES, "<last>"])
    tokenizer.add_tokens(["ours"])
    tokenizer.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 1))
    definition = tokenizer.to_str().encode()
    plain = ["a b s", "ours", "q", "ass", ""]
    spelled = ["a </s> b", "<s>", "b <unk> <pad>", "\uff1c/s\uff1e", "a</s>b"]
    encoder = encoder_for(definition)
    encoded = encoder.encode(plain + spelled).split()
    for text, ids in zip(plain, encoded, strict=False):
        assert ids.tolist() == tokenizer.encode(text, add_special_tokens=False).ids
    for ids in encoded[len(plain) :]:
        assert len(ids) and set(ids.tolist()).isdisjoint({0, 1, 2})
    served = TextEncoder(definition, 16)
    for text, ids in zip(plain + spelled, encoded, strict=True):
        row = served.encode([text])
        assert row.ids[0, : int(row.mask.sum())].tolist() == [1, *ids.tolist(), 2]
    assert served.vocabulary_size == encoder.vocabulary_size == len(WORD_NUMBERS) + 2
    assert encoder_for(definition, special_in_text="special").encode(["<s>"]).ids.tolist() == [1]


TOKENIZERS = [
    bert_tokenizer(
        added=[AddedToken("<Say>", normalized=True), AddedToken("goalie", single_word=True)]
    ),
    byte_level_tokenizer(bbc_news()[:100]),
]
FRAGMENTS = st.sampled_from(
    ["[SEP]", "[sep]", "[MASK]", "<|endoftext|>", "<|endof", "goalie", "xgoalie", "<say>", " ", "a"]
)


@pytest.mark.parametrize("definition", TOKENIZERS)
@settings(deadline=None, max_examples=100)
@given(st.lists(st.one_of(FRAGMENTS, st.text(max_size=3)), max_size=8).map("".join))
def test_spellings_are_those_that_change_what_the_library_gives(
    definition: bytes, text: str
) -> None:
    text = text.encode("utf-8", "replace").decode("utf-8")
    tokenizer = Tokenizer.from_str(definition.decode())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    found = Spellings(tokenizer, json.loads(definition), "text").find(text)
    as_special = tokenizer.encode(text, add_special_tokens=False).tokens
    tokenizer.encode_special_tokens = True
    as_text = tokenizer.encode(text, add_special_tokens=False).tokens
    assert bool(found) == (as_special != as_text)
    known = {"[SEP]", "[MASK]", "<|endoftext|>"}
    assert [one for one in found if one in known] == [one for one in as_special if one in known]


@pytest.mark.parametrize("padding", PADDING)
def test_store_and_server_know_the_same_padding_tokens(padding: str) -> None:
    content = json.loads(bert_tokenizer())
    text = json.dumps(content).replace("[PAD]", padding)
    number = content["model"]["vocab"]["[PAD]"]
    assert special_tokens(load_tokenizer(text.encode())).padding == number
    assert TextEncoder(text.encode(), 8).encode(["the", "the the"]).ids[0, -1] == number


def corpus_of(root: Path, given: list[Document], tokenizer: bytes) -> Corpus:
    return write_store(root / "store", write_corpus(root / "corpus", given), tokenizer).corpus


def test_copies_by_their_tokens_do_not_cross_the_split(tmp_path: Path) -> None:
    lines = []
    for number in range(60):
        texts = (f"word{number} Alpha", f"WORD{number} alpha ", f"word{number}  alpha")
        lines += [json.dumps({"text": one, "label": "ab"[number % 2]}) for one in texts]
    (tmp_path / "file.jsonl").write_text("\n".join(lines))
    config = CorpusConfig.model_validate(
        {
            "source": "jsonl",
            "held_out": 0.4,
            "files": {"paths": [str(tmp_path / "file.jsonl")], "label": "label"},
        }
    )
    written = write_store(tmp_path / "store", config, bert_tokenizer())
    store = TokenStore.open(tmp_path / "store")
    ids = {
        name: {tuple(part.document(number).tolist()) for number in range(len(part))}
        for name, part in store.parts.items()
    }
    assert not ids["train"] & ids["held_out"]
    found = written.corpus.validation
    assert found.same_tokens > 0
    assert found.same_tokens + found.train + found.held_out == 180
    assert any("had the tokens of one held out" in one for one in found.warnings)
    again = write_store(tmp_path / "store", config, bert_tokenizer())
    assert again.sealed.seal == written.sealed.seal, "also with tokens that are at hand"


def test_a_document_without_a_token_does_not_stay(tmp_path: Path) -> None:
    given = [*documents(60), Document("\x07", "tech", "train"), Document("\u200d", "tech", "train")]
    found = corpus_of(tmp_path, given, bert_tokenizer()).validation
    assert (found.tokenless, found.empty, found.train + found.held_out) == (2, 0, 60)
    store = TokenStore.open(tmp_path / "store")
    assert min(part.lengths.min() for part in store.parts.values()) > 0
    assert np.sum([len(part) for part in store.parts.values()]) == 60
