"""How long something took that is done many times."""

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

ArgumentsT = ParamSpec("ArgumentsT")
ResultT = TypeVar("ResultT")


class Stopwatch:
    """Adds up the seconds of the calls of what `timed` gave."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, function: Callable[ArgumentsT, ResultT]) -> Callable[ArgumentsT, ResultT]:
        """The same function, with its time counted, also where it raises."""

        def counted(*arguments: ArgumentsT.args, **keywords: ArgumentsT.kwargs) -> ResultT:
            start = time.perf_counter()
            try:
                return function(*arguments, **keywords)
            finally:
                self.seconds += time.perf_counter() - start

        return counted
