"""Models by their names: which version answers, which are loaded, and which must go."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

from retort.serve.engine.engine import Done, Load
from retort.serve.models.loading import LoadedModel, Version
from retort.serve.models.shadow import Comparison, ShadowedEngine
from retort.serve.protocols.service import Counts, Served, ServedModel, Told

_log = logging.getLogger(__name__)

Loader = Callable[[Version], Awaitable[LoadedModel]]
_NOTHING = (Load(0, 0, 0, 0, 0), Done())


@dataclass(frozen=True)
class Shadow:
    """A model behind another.

    Attributes:
        share: of the texts, which it sees.
    """

    version: Version
    share: float


@dataclass(frozen=True)
class Named:
    """What is to answer under a name."""

    version: Version
    shadow: Shadow | None = None


@dataclass(frozen=True)
class _Entry:
    """What answers under a name."""

    named: Named
    model: ServedModel
    comparison: Comparison | None = None


class Catalogue:
    """The models of a server, which can be others from one moment to the next. Used in the event loop's thread alone.

    Attributes:
        default: the name of the one that answers where a protocol knows no names.
        memory: bytes that the processes of all models may hold. With more, those that were not asked for the longest
            end, and are loaded again when they are. Without it, those that are named stay, and no others.
    """

    def __init__(self, load: Loader, memory: int | None = None) -> None:
        self._load, self.memory = load, memory
        self._entries: dict[str, _Entry] = {}
        self._loaded: OrderedDict[Version, LoadedModel] = OrderedDict()
        self._loading: dict[Version, asyncio.Task[LoadedModel]] = {}
        self._retired: list[LoadedModel] = []
        self._changing = asyncio.Lock()
        self.default = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the models."""
        return tuple(self._entries)

    def told(self, name: str) -> Told:
        """
        Raises:
            KeyError: there is none of this name.
        """
        entry = self._entries[name]
        loaded = self._loaded.get(entry.named.version)
        # One that had to go comes back when it is asked for.
        return Told(entry.model, loaded is None or loaded.engine.is_alive())

    def counts(self) -> Iterator[Counts]:
        """What each model does and has done: the version that answers now, also before it had the name."""
        for name, entry in self._entries.items():
            loaded = self._loaded.get(entry.named.version)
            load, done = _NOTHING if loaded is None else (loaded.engine.load, loaded.engine.done)
            compared = entry.comparison.compared if entry.comparison else None
            yield Counts(name, entry.model.seal, load, done, compared)

    @asynccontextmanager
    async def using(self, name: str) -> AsyncIterator[Served]:
        """The model of a name, as it is now, for one request; it stays until that is over.

        Raises:
            KeyError: there is none of this name.
            RetortError: it had to go, and cannot be loaded again.
        """
        entry = self._entries[name]
        with ExitStack() as stack:
            loaded = await self._get(entry.named.version, stack)
            shadow = entry.named.shadow
            behind = None if shadow is None else self._loaded.get(shadow.version)
            if shadow is None or behind is None or entry.comparison is None:
                yield Served(loaded.model, loaded.engine)
                return
            self._loaded.move_to_end(shadow.version)
            engine = ShadowedEngine(loaded.engine, behind.engine, entry.comparison)
            yield Served(loaded.model, engine)

    async def change(self, wanted: Mapping[str, Named], default: str) -> None:
        """Have other models from now on: all of them, or, if one cannot be loaded, none.

        Those that answer now do so until the others can.

        Raises:
            RetortError: one cannot be loaded.
        """
        async with self._changing:
            try:
                self._entries = {
                    name: await self._entry(name, named) for name, named in wanted.items()
                }
                self.default = default
            finally:
                self._retire_unnamed()

    async def close(self) -> None:
        """End all of them."""
        for task in self._loading.values():
            task.cancel()
        await asyncio.gather(*self._loading.values(), return_exceptions=True)
        for loaded in (*self._loaded.values(), *self._retired):
            await loaded.close()

    async def _entry(self, name: str, named: Named) -> _Entry:
        """What is to answer under a name, loaded; a comparison of the same two goes on."""
        model = await self._warm(named.version)
        if named.shadow is None:
            return _Entry(named, model)
        await self._warm(named.shadow.version)
        old = self._entries.get(name)
        if old is not None and old.named == named:
            return _Entry(named, model, old.comparison)
        return _Entry(named, model, Comparison(named.shadow.share))

    async def _warm(self, version: Version) -> ServedModel:
        with ExitStack() as stack:
            return (await self._get(version, stack)).model

    async def _get(self, version: Version, stack: ExitStack) -> LoadedModel:
        """A version, loaded; it does not go before the stack is closed."""
        while version not in self._loaded:
            if version not in self._loading:
                task = asyncio.create_task(self._brought(version))
                task.add_done_callback(_seen)  # also where nobody waits for it any more
                self._loading[version] = task
            await asyncio.shield(self._loading[version])
        loaded = self._loaded[version]
        self._loaded.move_to_end(version)
        stack.enter_context(loaded.used())
        return loaded

    async def _brought(self, version: Version) -> LoadedModel:
        try:
            loaded = await self._load(version)
        finally:
            del self._loading[version]
        self._loaded[version] = loaded
        await self._make_room(version)
        return loaded

    async def _make_room(self, newest: Version) -> None:
        """End those that were not asked for the longest, until the others fit."""
        if self.memory is None:
            return
        while sum(one.memory() for one in self._loaded.values()) > self.memory:
            idle = (
                version
                for version, loaded in self._loaded.items()
                if version != newest and not loaded.is_used
            )
            version = next(idle, None)
            if version is None:
                _log.warning("the models that are in use hold more memory than they may")
                return
            loaded = self._loaded.pop(version)
            _log.info("%s had to go for want of memory", version.checkpoint)
            await loaded.close()

    def _retire_unnamed(self) -> None:
        """Have versions go that no name has."""
        if self.memory is not None:
            return
        named = set()
        for entry in self._entries.values():
            named.add(entry.named.version)
            if entry.named.shadow is not None:
                named.add(entry.named.shadow.version)
        for version in self._loaded.keys() - named:
            retired = self._loaded.pop(version)
            retired.retire()
            self._retired.append(retired)
        self._retired = [one for one in self._retired if not one.is_closed]


def _seen(task: "asyncio.Task[LoadedModel]") -> None:
    if not task.cancelled():
        task.exception()
