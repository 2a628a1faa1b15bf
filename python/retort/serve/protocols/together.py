"""Several predictions of one request."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


async def together(computations: Iterable[Coroutine[Any, Any, ResultT]]) -> list[ResultT]:
    """All results, in their order; with the first that fails the others are given up.

    Raises:
        Exception: that of the first, and not a group: who asked once is told once.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in computations]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]
