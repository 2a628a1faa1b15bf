"""Token numbers of one length, with nothing lost uncounted."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from retort.core.errors import ConfigError, DataError
from retort.data.tokenizers.fixed_length import Tokeniser
from tests.tiny.inputs import write_weights

TEXTS = st.lists(st.text("match goal 123 zzz,.é", max_size=60), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def definition(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    weights = write_weights(tmp_path_factory.mktemp("tokenise") / "weights")
    return (weights / "tokenizer.json").read_bytes()


@settings(deadline=None)
@given(texts=TEXTS, max_tokens=st.integers(3, 30))
def test_ids_are_the_librarys_and_what_is_cut_off_is_counted(
    definition: bytes, texts: list[str], max_tokens: int
) -> None:
    tokens = Tokeniser(definition, max_tokens).encode(texts)
    plain = Tokenizer.from_str(definition.decode())
    assert tokens.ids.shape == tokens.mask.shape == (len(texts), max_tokens)
    truncated = dropped = 0
    for row, mask, text in zip(tokens.ids.tolist(), tokens.mask.tolist(), texts, strict=True):
        inner = plain.encode(text, add_special_tokens=False).ids
        kept = inner[: max_tokens - 2]
        expected = [2, *kept, 3]
        padding = max_tokens - len(expected)
        assert row == expected + [0] * padding
        assert mask == [1] * len(expected) + [0] * padding
        truncated += len(inner) > len(kept)
        dropped += len(inner) - len(kept)
    assert (tokens.truncated, tokens.dropped, len(tokens)) == (truncated, dropped, len(texts))


@settings(deadline=None)
@given(texts=TEXTS)
def test_a_text_is_encoded_the_same_alone_and_among_others(
    definition: bytes, texts: list[str]
) -> None:
    tokenise = Tokeniser(definition, 12)
    together = tokenise.encode(texts)
    for number, text in enumerate(texts):
        assert tokenise.encode([text]).ids.tolist() == [together.ids[number].tolist()]


def test_no_texts_give_no_rows(definition: bytes) -> None:
    assert Tokeniser(definition, 12).encode([]).ids.shape == (0, 12)


def test_a_tokenizer_that_is_not_one_is_refused_by_name(definition: bytes, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_bytes(b"{}")
    with pytest.raises(DataError, match=r"mine\.json: is not a tokenizer definition"):
        Tokeniser.from_file(tmp_path / "mine.json", 12)
    with pytest.raises(DataError, match=r"tokenizer\.json: is not a tokenizer definition"):
        Tokeniser(b"\xff", 12)
    without = json.loads(definition)
    without["added_tokens"] = [one for one in without["added_tokens"] if one["content"] != "[PAD]"]
    without["model"]["vocab"]["[NOPAD]"] = without["model"]["vocab"].pop("[PAD]")
    with pytest.raises(DataError, match="has no padding token"):
        Tokeniser(json.dumps(without).encode(), 12)
    with pytest.raises(ConfigError, match=r"data\.max_tokens must be over 2"):
        Tokeniser(definition, 2)
