"""The file that names a server's models, read again when it changes.

Whoever changes it changes what is served: the models that it names then are loaded and tested beside those that answer,
and take over at once. If one of them cannot be loaded, or the file is wrong, the log says so and nothing changes. The
way back is the file as it was.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from retort.core.config import Frozen, LocalPath, load_recipe
from retort.core.errors import RetortError
from retort.models.config import PrecisionName
from retort.serve.models.catalogue import Catalogue, Named, Shadow
from retort.serve.models.loading import Version

_log = logging.getLogger("retort.serve")
_EACH_SECONDS = 1.0
_MIB = 1 << 20

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Seal = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class VersionConfig(Frozen):
    """A checkpoint, and how it is computed."""

    called = "the file of models"

    checkpoint: LocalPath
    seal: Seal | None = None
    precision: PrecisionName | None = None

    def version(self) -> Version:
        """Which model it is."""
        return Version(self.checkpoint, self.seal, self.precision)


class ShadowConfig(VersionConfig):
    """A model that is asked, too, and whose answers are only compared."""

    share: float = Field(gt=0, le=1)


class ModelConfig(VersionConfig):
    """A model under a name."""

    shadow: ShadowConfig | None = None

    def named(self) -> Named:
        """What is to answer."""
        shadow = self.shadow
        behind = None if shadow is None else Shadow(shadow.version(), shadow.share)
        return Named(self.version(), behind)


class ModelsConfig(Frozen):
    """The models of a server."""

    called = "the file of models"

    models: dict[Name, ModelConfig] = Field(min_length=1)
    default: str | None = None
    memory_mib: int | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _knows_its_default(self) -> Self:
        if self.default is not None and self.default not in self.models:
            raise ValueError(f"default: {self.default} is none of the models")
        return self

    @property
    def first(self) -> str:
        """The name of the one that answers where a protocol knows no names."""
        return self.default or next(iter(self.models))

    @property
    def memory(self) -> int | None:
        """Bytes that the processes of all models may hold."""
        return None if self.memory_mib is None else self.memory_mib * _MIB

    def named(self) -> Mapping[str, Named]:
        """What is to answer under each name."""
        return {name: model.named() for name, model in self.models.items()}


def read(file: Path) -> ModelsConfig:
    """
    Raises:
        ConfigError: it cannot be read, or a key of it is wrong; the key is named.
    """
    return load_recipe(ModelsConfig, file, [], file.parent).config


@asynccontextmanager
async def watching(file: Path, models: Catalogue) -> AsyncIterator[None]:
    """While this is open, models are what the file says, soon after it does."""
    task = asyncio.create_task(_watch(file, models))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _watch(file: Path, models: Catalogue) -> None:
    seen = _state(file)
    while True:
        await asyncio.sleep(_EACH_SECONDS)
        now = _state(file)
        if now == seen:
            continue
        seen = now
        try:
            wanted = await asyncio.to_thread(read, file)
            models.memory = wanted.memory
            await models.change(wanted.named(), wanted.first)
        except RetortError as error:
            _log.error("%s; the models stay as they were", error)
            continue
        _log.info("serves %s as %s says now", ", ".join(models.names), file)


def _state(file: Path) -> tuple[int, int, int] | None:
    """Another one after each change; also where the file is a link to a folder that is replaced, as in Kubernetes."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
