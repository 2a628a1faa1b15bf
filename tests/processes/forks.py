"""For tests that start many processes which import the same: they are forked from one that has."""

from collections.abc import Callable, Iterator

import pytest

from retort.core.forks.client import fork_server

TRAINING = (
    "retort.train.run.worker",
    "retort.train.processes.elastic",
    "transformers.models.bert.configuration_bert",
    # What the first process of a run loads to tell about it.
    "matplotlib.figure",
    "matplotlib.backends.backend_svg",
    "torch.utils.tensorboard",
)
"""What a training run imports, its agent, its workers and their verdict."""

NATIVE = ("transformers.models.bert.modeling_bert",)
"""What it imports, too, in native arithmetic."""

PREPARATION = (
    "retort.data.prepare",
    "retort.data.preparation.run",
    "matplotlib.figure",
    "matplotlib.backends.backend_svg",
)
"""What making a store imports."""


def fork_server_for(*modules: str) -> Callable[[], Iterator[None]]:
    """A fixture of a test file: a server that has imported these modules, while its tests run.

    What is started by `retort.core.forks` is forked from it, also by processes that tests start.
    """

    @pytest.fixture(scope="module", autouse=True)
    def server() -> Iterator[None]:
        # As that of workers (`retort.train.processes.launch.fork_workers`).
        with fork_server(*modules, TORCH_CPP_LOG_LEVEL="ERROR"):
            yield

    return server
