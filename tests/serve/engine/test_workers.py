"""The processes of a model: what they compute, and that none of their deaths is the last."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from retort.core.seal import verify
from retort.models.checkpoint import load_checkpoint
from retort.models.description import describe_classifier
from retort.models.predict import predict
from retort.serve.engine.batching import BatchingEngine, Settings
from retort.serve.engine.start import Start
from retort.serve.engine.workers import ModelProcesses, ModelRefused, WorkerProcess
from tests.processes.forks import fork_server_for
from tests.tiny.checkpoints import write_served

forks = fork_server_for("retort.serve.engine.model_process")
TEXTS = ["shares rose", "the vote was close", "two goals, one win", "猫 🙂", "x9", "a " * 60] * 4


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_served(tmp_path_factory.mktemp("checkpoints") / "tiny", "portable")


class Watched(BatchingEngine):
    """Remembers its workers."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seen: list[WorkerProcess] = []
        self.came = asyncio.Condition()

    async def serve(self, worker: Any) -> None:
        self.seen.append(worker)
        async with self.came:
            self.came.notify_all()
        await super().serve(worker)

    async def until(self, count: int) -> WorkerProcess:
        """The worker of this number, when it is there."""
        async with self.came:
            await self.came.wait_for(lambda: len(self.seen) >= count)
        return self.seen[count - 1]


@asynccontextmanager
async def running(checkpoint: Path, count: int = 1, **settings: Any) -> AsyncIterator[Watched]:
    model = describe_classifier(checkpoint)
    engine = Watched(model.tokenise, model.labels, Settings(**settings))
    start = Start(checkpoint, count)
    async with ModelProcesses(start, start.start(None), model.sealed.seal, engine.serve):
        yield engine
        engine.close()


def test_answers_are_those_of_the_verifier_whoever_gives_them(checkpoint: Path) -> None:
    async def scenario() -> list[tuple[str, float]]:
        async with running(checkpoint, 2) as engine:
            answers = await asyncio.gather(*(engine.predict(text) for text in TEXTS))
            return [(answer.label, answer.confidence) for answer in answers]

    expected = predict(load_checkpoint(checkpoint), TEXTS)
    assert asyncio.run(scenario()) == [(one.label, one.confidence) for one in expected]


@pytest.mark.parametrize("stuck", [False, True])
def test_what_a_worker_was_at_when_it_died_is_computed_by_another(
    checkpoint: Path, stuck: bool
) -> None:
    async def scenario() -> None:
        async with running(checkpoint, patience=1.0 if stuck else 3600) as engine:
            first = await engine.until(1)
            os.kill(first.process, signal.SIGSTOP)
            asked = [asyncio.create_task(engine.predict(text)) for text in TEXTS[:5]]
            while engine.load.reading or not engine.load.computing:
                await asyncio.sleep(0)
            if not stuck:
                os.kill(first.process, signal.SIGKILL)
            answers = await asyncio.gather(*asked)
            second = await engine.until(2)
            assert second.process != first.process
            expected = predict(load_checkpoint(checkpoint), TEXTS[:5])
            assert [one.label for one in answers] == [one.label for one in expected]

    asyncio.run(scenario())


def test_the_models_process_is_started_again(checkpoint: Path) -> None:
    async def scenario() -> None:
        async with running(checkpoint) as engine:
            first = await engine.until(1)
            parent = int(
                Path(f"/proc/{first.process}/stat").read_text().rpartition(")")[2].split()[1]
            )
            os.kill(parent, signal.SIGKILL)
            await engine.until(2)
            assert (await engine.predict("again")).tokens == 7

    asyncio.run(scenario())


def test_no_process_outlives_the_engine(checkpoint: Path) -> None:
    async def scenario() -> int:
        async with running(checkpoint) as engine:
            return (await engine.until(1)).process

    number = asyncio.run(scenario())
    with pytest.raises(ProcessLookupError):
        while True:
            os.kill(number, 0)


def test_a_model_that_cannot_be_served_is_refused_with_its_reason(
    checkpoint: Path, tmp_path: Path
) -> None:
    async def scenario(start: Start, seal: str) -> None:
        engine: Any = None
        async with ModelProcesses(start, start.start(None), seal, engine):
            pass

    seal = verify(checkpoint).seal
    with pytest.raises(ModelRefused, match="has become another model"):
        asyncio.run(scenario(Start(checkpoint, 1), f"sha256:{0:064}"))
    with pytest.raises(ModelRefused, match="none"):
        asyncio.run(scenario(Start(tmp_path / "none", 1), seal))
