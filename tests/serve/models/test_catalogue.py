"""Models by their names: whoever asks is answered by one version, however it changes meanwhile, and memory is kept."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retort.core.errors import UserError
from retort.serve.engine.engine import NO_TERMS, Answer, Done, EngineStopped, Load, Priority, Terms
from retort.serve.models.catalogue import Catalogue, Named, Shadow
from retort.serve.models.loading import LoadedModel, Version
from retort.serve.models.shadow import Comparison
from retort.serve.protocols.service import ServedModel

LABELS = ("a", "b")


def version(name: str) -> Version:
    return Version(Path(name))


class Engine:
    """Says which model it is, until it is closed."""

    load = Load(0, 0, 0, 1, 0)

    def __init__(self, name: str, done: Done) -> None:
        self.name, self.done = name, done
        self.is_open = True
        self.asked: list[Terms] = []

    def is_alive(self) -> bool:
        return self.is_open

    async def predict(self, text: str, terms: Terms = NO_TERMS) -> Answer:
        self.asked.append(terms)
        await asyncio.sleep(0)
        if not self.is_open or text == "fail":
            raise EngineStopped("closed")
        self.done.texts += 1
        share = len(self.name) / 10
        return Answer(self.name, share, (share, 1 - share), LABELS, 1, truncated=False)


class Loaded(LoadedModel):
    """A model of a hundred bytes."""

    def memory(self) -> int:
        return 100


class Shelf:
    """What can be loaded; what was, in order, and what is open."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.engines: dict[str, Engine] = {}
        self.allowed = asyncio.Event()
        self.allowed.set()
        self.broken: set[str] = set()

    async def load(self, wanted: Version) -> LoadedModel:
        name = str(wanted.checkpoint)
        self.loads.append(name)
        await self.allowed.wait()
        if name in self.broken:
            raise UserError(f"{name} is broken")
        engine: Any = Engine(name, Done())
        self.engines[name] = engine
        held = AsyncExitStack()
        held.callback(setattr, engine, "is_open", False)
        processes: Any = None
        return Loaded(ServedModel(f"seal of {name}", LABELS), engine, processes, held)

    @property
    def open(self) -> set[str]:
        return {name for name, engine in self.engines.items() if engine.is_open}


async def say(models: Catalogue, name: str) -> str:
    async with models.using(name) as served:
        answer = await served.engine.predict("text")
        assert served.model.seal == f"seal of {answer.label}"
        return answer.label


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def play(
    scenario: Callable[[Catalogue, Shelf], Awaitable[None]], memory: int | None = None
) -> None:
    async def run() -> None:
        shelf = Shelf()
        models = Catalogue(shelf.load, memory)
        await scenario(models, shelf)
        await models.close()
        assert shelf.open == set()

    asyncio.run(run())


def test_names_are_answered_by_their_models() -> None:
    async def scenario(models: Catalogue, shelf: Shelf) -> None:
        await models.change({"news": Named(version("n")), "film": Named(version("f"))}, "film")
        assert await say(models, "news") == "n"
        assert await say(models, models.default) == "f"
        assert models.told("news").model.seal == "seal of n"
        with pytest.raises(KeyError):
            async with models.using("other"):
                pass
        assert {one.name: one.done.texts for one in models.counts()} == {"news": 1, "film": 1}

    play(scenario)


def test_a_request_keeps_its_version_and_those_after_it_have_the_next() -> None:
    async def scenario(models: Catalogue, shelf: Shelf) -> None:
        await models.change({"m": Named(version("one"))}, "m")
        shelf.allowed.clear()
        change = asyncio.create_task(models.change({"m": Named(version("two"))}, "m"))
        await settle()
        assert await say(models, "m") == "one"  # while the other is loaded
        async with models.using("m") as served:
            shelf.allowed.set()
            await change
            assert await say(models, "m") == "two"
            await settle()
            assert shelf.open == {"one", "two"}
            assert (await served.engine.predict("text")).label == "one"
        await settle()
        assert shelf.open == {"two"}
        assert [(one.seal, one.done.texts) for one in models.counts()] == [("seal of two", 1)]

    play(scenario)


def test_a_change_of_which_one_model_is_broken_changes_nothing() -> None:
    async def scenario(models: Catalogue, shelf: Shelf) -> None:
        await models.change({"m": Named(version("good")), "o": Named(version("too"))}, "m")
        shelf.broken = {"bad"}
        with pytest.raises(UserError, match="bad is broken"):
            await models.change({"m": Named(version("new")), "o": Named(version("bad"))}, "o")
        await settle()
        assert (await say(models, "m"), await say(models, "o"), models.default) == (
            "good",
            "too",
            "m",
        )
        assert shelf.open == {"good", "too"}
        await models.change({"m": Named(version("new"))}, "m")
        assert await say(models, "m") == "new"
        assert models.names == ("m",)

    play(scenario)


def test_the_way_back_is_at_once_where_there_is_memory() -> None:
    async def scenario(models: Catalogue, shelf: Shelf) -> None:
        for name in ("one", "two", "one"):
            await models.change({"m": Named(version(name))}, "m")
            assert await say(models, "m") == name
        assert shelf.loads == ["one", "two"]

    play(scenario, memory=200)


def test_what_was_not_asked_for_the_longest_goes_and_comes_back() -> None:
    async def scenario(models: Catalogue, shelf: Shelf) -> None:
        names = ("a", "b", "c")
        await models.change({name: Named(version(name)) for name in names}, "a")
        assert shelf.open == {"b", "c"}
        assert await say(models, "b") == "b"
        assert await say(models, "a") == "a"
        assert shelf.open == {"a", "b"}
        assert models.told("c").is_alive
        assert shelf.loads == ["a", "b", "c", "a"]
        shelf.broken = {"c"}
        with pytest.raises(UserError, match="c is broken"):
            await say(models, "c")

    play(scenario, memory=200)


def test_what_is_in_use_does_not_go() -> None:
    async def scenario(models: Catalogue, shelf: Shelf) -> None:
        await models.change({name: Named(version(name)) for name in ("a", "b")}, "a")
        async with models.using("a") as one:
            assert await say(models, "b") == "b"
            assert shelf.open == {"a", "b"}
            assert (await one.engine.predict("text")).label == "a"

    play(scenario, memory=100)


def test_many_that_wait_for_one_model_have_it_loaded_once() -> None:
    async def scenario(models: Catalogue, shelf: Shelf) -> None:
        await models.change({name: Named(version(name)) for name in ("a", "b")}, "a")
        shelf.allowed.clear()
        asked = [asyncio.create_task(say(models, "a")) for _ in range(9)]
        await settle()
        asked[0].cancel()  # who gives up takes no other's model
        await settle()
        shelf.allowed.set()
        assert await asyncio.gather(*asked[1:]) == ["a"] * 8
        assert shelf.loads == ["a", "b", "a"]

    play(scenario, memory=100)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["ask", "change", "break", "mend"]), st.integers(0, 3)),
        max_size=30,
    ),
    st.sampled_from([None, 100, 250]),
)
def test_whatever_changes_each_answer_is_of_a_version_that_was_named(
    steps: list[tuple[str, int]], memory: int | None
) -> None:
    async def scenario(models: Catalogue, shelf: Shelf) -> None:
        await models.change({"m": Named(version("v"))}, "m")
        named, tasks = ["v"], []
        for step, number in steps:
            name = "v" * (number + 1)
            if step == "ask":
                tasks.append(asyncio.create_task(say(models, "m")))
            elif step == "break":
                shelf.broken.add(name)
            elif step == "mend":
                shelf.broken.discard(name)
            else:
                try:
                    await models.change({"m": Named(version(name))}, "m")
                except UserError:
                    assert name in shelf.broken
                    continue
                named.append(name)
            await asyncio.sleep(0)
        for answer in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(answer, BaseException):
                assert isinstance(answer, UserError)
                assert memory is not None
            else:
                assert answer in named

    play(scenario, memory)


def test_at_the_end_what_was_replaced_and_is_still_in_use_ends_too() -> None:
    async def scenario(models: Catalogue, shelf: Shelf) -> None:
        await models.change({"m": Named(version("one"))}, "m")
        async with models.using("m"):
            await models.change({"m": Named(version("two"))}, "m")
            await models.close()
            assert shelf.open == set()

    play(scenario)


def test_a_shadow_sees_its_share_and_nobody_waits_for_it() -> None:
    async def scenario(models: Catalogue, shelf: Shelf) -> None:
        shadow = Shadow(version("four"), 1.0)
        await models.change({"m": Named(version("sixsix"), shadow)}, "m")
        for _ in range(5):
            assert await say(models, "m") == "sixsix"
        await settle()
        [counts] = models.counts()
        assert counts.compared is not None
        assert (counts.compared.texts, counts.compared.labels) == (5, 5)
        assert counts.compared.shift == pytest.approx(0.2)
        assert counts.done.texts == 5
        assert {terms.priority for terms in shelf.engines["four"].asked} == {Priority.LOW}
        shelf.engines["four"].is_open = False
        assert await say(models, "m") == "sixsix"
        await settle()
        assert counts.compared.failures == 1
        await models.change({"m": Named(version("sixsix"))}, "m")
        await settle()
        assert [one.compared for one in models.counts()] == [None]

    play(scenario)


def test_a_shadow_that_takes_over_is_counted_on_and_under_each_of_its_names() -> None:
    async def scenario(models: Catalogue, shelf: Shelf) -> None:
        await models.change({"m": Named(version("old"), Shadow(version("new"), 1.0))}, "m")
        assert await say(models, "m") == "old"
        await settle()
        await models.change({"m": Named(version("new")), "n": Named(version("new"))}, "m")
        assert await say(models, "m") == "new"
        assert [(one.name, one.done.texts) for one in models.counts()] == [("m", 2), ("n", 2)]
        assert shelf.loads == ["old", "new"]

    play(scenario)


def test_a_shadow_goes_no_sooner_than_what_was_asked_before_its_model() -> None:
    async def scenario(models: Catalogue, shelf: Shelf) -> None:
        with_shadow = Named(version("a"), Shadow(version("s"), 1.0))
        await models.change({"m": with_shadow, "o": Named(version("o"))}, "m")
        assert await say(models, "o") == "o"
        assert await say(models, "m") == "a"
        await settle()
        await models.change({"m": with_shadow, "p": Named(version("p"))}, "m")
        assert shelf.open == {"a", "s", "p"}

    play(scenario, memory=300)


@given(st.floats(0.01, 1), st.integers(0, 60))
def test_a_share_is_of_draws(share: float, count: int) -> None:
    async def run() -> None:
        draws = iter([number / 60 for number in range(count)])
        comparison = Comparison(share, lambda: next(draws))
        engine = Engine("ab", Done())
        for _ in range(count):
            answer = await engine.predict("text")
            comparison.see(engine, "text", answer, NO_TERMS)
            await comparison.finish()
        assert comparison.compared.texts == sum(number / 60 < share for number in range(count))
        assert (comparison.compared.labels, comparison.compared.shift) == (0, 0)

    asyncio.run(run())
