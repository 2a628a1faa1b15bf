"""The words of a text by what its label hangs on."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retort.serve.engine.engine import (
    NO_TERMS,
    Answer,
    Done,
    Load,
    NothingToRead,
    Overloaded,
    Priority,
    Terms,
)
from retort.serve.protocols.page.words import MOST, explain, pieces_of

TEXTS = st.text(alphabet="ab \n", max_size=400)


class Counting:
    """Says `b` by the share of letters that are."""

    done, load = Done(), Load(0, 0, 0, 1, 0)

    def __init__(self) -> None:
        self.asked: list[Terms] = []

    def is_alive(self) -> bool:
        return True

    async def predict(self, text: str, terms: Terms = NO_TERMS) -> Answer:
        self.asked.append(terms)
        letters = text.replace(" ", "").replace("\n", "")
        if not letters:
            raise NothingToRead("nothing")
        share = letters.count("b") / len(letters)
        shares = (1 - share, share)
        return Answer("b", max(shares), shares, ("a", "b"), len(text), truncated=False)


def explained(text: str) -> tuple[Any, Counting]:
    async def run() -> Any:
        return await explain(engine, text, await engine.predict(text), NO_TERMS)

    engine = Counting()
    return asyncio.run(run()), engine


@given(TEXTS)
def test_parts_are_the_text_and_few_enough(text: str) -> None:
    pieces = pieces_of(text)
    assert "".join(pieces) == text
    words = [piece for piece in pieces if not piece.isspace()]
    assert len(words) <= MOST
    if len(text.split()) <= MOST:
        assert words == text.split()


def test_a_word_weighs_what_its_label_loses_without_it() -> None:
    parts, engine = explained("bbb a b")
    assert [(part.text, part.weight) for part in parts if part.weight is not None] == [
        ("bbb", pytest.approx(0.8 - 0.5)),
        ("a", pytest.approx(0.8 - 1.0)),
        ("b", pytest.approx(0.8 - 0.75)),
    ]
    assert [terms.priority for terms in engine.asked] == [Priority.NORMAL] + [Priority.LOW] * 3


def test_the_only_word_weighs_all() -> None:
    parts, _ = explained("bb")
    assert [part.weight for part in parts] == [1.0]


def test_an_engine_that_answers_none_is_told() -> None:
    class Full(Counting):
        async def predict(self, text: str, terms: Terms = NO_TERMS) -> Answer:
            if self.asked:
                raise Overloaded("full")
            return await super().predict(text, terms)

    async def run() -> None:
        engine = Full()
        with pytest.raises(Overloaded):
            await explain(engine, "a b", await engine.predict("a b"), NO_TERMS)

    asyncio.run(run())
