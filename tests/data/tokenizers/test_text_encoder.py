"""Texts as a model reads them, the same from a token store's numbers and from the text itself."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, processors

from retort.core.errors import ConfigError, DataError
from retort.data.tokenizers.collator import Collator
from retort.data.tokenizers.special_tokens import SpecialTokens, special_tokens
from retort.data.tokenizers.text_encoder import TextEncoder
from tests.tiny.inputs import write_weights

TEXTS = st.lists(st.text("match goal 123 zzz,.é", max_size=60), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def definition(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    weights = write_weights(tmp_path_factory.mktemp("encoder") / "weights")
    return (weights / "tokenizer.json").read_bytes()


@settings(deadline=None)
@given(texts=TEXTS, max_tokens=st.integers(3, 30))
def test_a_batch_is_the_librarys_and_as_long_as_its_longest_text(
    definition: bytes, texts: list[str], max_tokens: int
) -> None:
    ids, mask = TextEncoder(definition, max_tokens).encode(texts)
    library = Tokenizer.from_str(definition.decode())
    library.enable_truncation(max_tokens)
    library.enable_padding(pad_id=0, pad_token="[PAD]")
    expected = library.encode_batch(texts)
    assert ids.tolist() == [one.ids for one in expected]
    assert mask.tolist() == [one.attention_mask for one in expected]


@settings(deadline=None)
@given(texts=TEXTS)
def test_the_tokens_of_a_text_are_the_same_alone_and_among_others(
    definition: bytes, texts: list[str]
) -> None:
    encoder = TextEncoder(definition, 12)
    together = encoder.encode(texts)
    for text, ids, mask in zip(texts, *together, strict=True):
        alone = encoder.encode([text])
        assert alone.mask.all(), "no padding"
        assert alone.ids[0].tolist() == ids[mask > 0].tolist()
        assert set(ids[mask == 0].tolist()) <= {0}


def test_no_texts_give_no_rows(definition: bytes) -> None:
    assert len(TextEncoder(definition, 12).encode([]).ids) == 0


@given(st.integers(3, 600), st.integers(1, 70), st.lists(st.integers(0, 700), min_size=1))
def test_a_batch_is_padded_to_the_least_multiple_or_to_the_most(
    most: int, pad_to: int, counts: list[int]
) -> None:
    collator = Collator(SpecialTokens((2,), (3,), 0, None), most, pad_to)
    lengths = collator.padded(np.array(counts))
    for count, length in zip(counts, lengths.tolist(), strict=True):
        assert length == min(-(-(count + 2) // pad_to) * pad_to, most)
    ids, mask = collator.batch([np.full(count, 7, np.uint16) for count in counts])
    assert ids.shape == mask.shape == (len(counts), lengths.max())
    assert mask.sum(axis=1).tolist() == collator.kept(np.array(counts)).tolist()
    assert (ids == 7).sum(axis=1).tolist() == [min(count, most - 2) for count in counts]


def test_what_is_put_around_texts_does_not_depend_on_what_the_tokenizer_can_read() -> None:
    tokenizer = Tokenizer(models.BPE({"犬": 0, "<s>": 1, "</s>": 2, "<pad>": 3}, []))
    tokenizer.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 1))
    special = special_tokens(tokenizer)
    assert (special.prefix, special.suffix) == ((1,), (2,))
    encoder = TextEncoder(tokenizer.to_str().encode(), 8)
    assert encoder.encode(["犬犬"]).ids.tolist() == [[1, 0, 0, 2]]


def test_a_tokenizer_that_is_not_one_is_refused_by_name(definition: bytes, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_bytes(b"{}")
    with pytest.raises(DataError, match=r"mine\.json: is not a tokenizer definition"):
        TextEncoder.from_file(tmp_path / "mine.json", 12)
    with pytest.raises(DataError, match=r"tokenizer\.json: is not a tokenizer definition"):
        TextEncoder(b"\xff", 12)
    without = json.loads(definition)
    without["added_tokens"] = [one for one in without["added_tokens"] if one["content"] != "[PAD]"]
    without["model"]["vocab"]["[NOPAD]"] = without["model"]["vocab"].pop("[PAD]")
    with pytest.raises(DataError, match="has no padding token"):
        TextEncoder(json.dumps(without).encode(), 12)
    with pytest.raises(ConfigError, match=r"data\.max_tokens must be over 2"):
        TextEncoder(definition, 2)
