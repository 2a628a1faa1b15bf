"""Several blobs on their way: a few at once, and on standard error how far they are."""

import concurrent.futures
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import TextIO, TypeVar

from tools.oci.errors import ImageError
from tools.oci.image.layout import Descriptor

_AT_ONCE = 4
_REDRAW_SECONDS = 0.2
_Result = TypeVar("_Result")


class Stopped(ImageError):
    """Another blob failed, so this one is not worth going on with."""


class Progress:
    """A line for each blob that is through; on a terminal also one, drawn anew, with those on the way."""

    def __init__(self, verb: str, stream: TextIO | None = None) -> None:
        """Args:
        verb: what is done to a blob, such as `pushed`.
        stream: standard error if not given.
        """
        self._verb = verb
        self._stream = stream or sys.stderr
        self._is_drawn = self._stream.isatty()
        self._lock = threading.Lock()
        self._under_way: dict[str, tuple[int, int]] = {}
        self._drawn_at = 0.0
        self._is_stopped = False

    def stop(self) -> None:
        """Ends the others at their next block."""
        self._is_stopped = True

    def meter(self, descriptor: Descriptor) -> Callable[[int], None]:
        """What is to be told the position in a blob, in bytes; raises Stopped after `stop`."""
        started = time.monotonic()
        digest = descriptor.digest

        def at(place: int) -> None:
            if self._is_stopped:
                raise Stopped(f"{digest}: stopped")
            with self._lock:
                self._under_way[digest] = (place, descriptor.size)
                if place == descriptor.size:
                    del self._under_way[digest]
                    self._through(descriptor, time.monotonic() - started)
                elif self._is_drawn and time.monotonic() - self._drawn_at > _REDRAW_SECONDS:
                    self._draw()

        return at

    def _through(self, descriptor: Descriptor, seconds: float) -> None:
        erase = "\r\x1b[K" if self._is_drawn else ""
        rate = descriptor.size / 1e6 / max(seconds, 1e-3)
        self._stream.write(
            f"{erase}{self._verb} {descriptor.digest[:19]} {descriptor.size} bytes, {rate:.1f} MB/s\n"
        )
        self._stream.flush()

    def _draw(self) -> None:
        self._drawn_at = time.monotonic()
        parts = [
            f"{digest[7:19]} {place / 1e6:.1f}/{size / 1e6:.1f} MB"
            for digest, (place, size) in sorted(self._under_way.items())
        ]
        self._stream.write(f"\r\x1b[K{'  '.join(parts)}")
        self._stream.flush()


def in_parallel(
    action: Callable[[Descriptor], _Result], blobs: Iterable[Descriptor], progress: Progress
) -> list[_Result]:
    """The action's results, in the blobs' order; the first failure stops the others and is raised."""
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        pending = [pool.submit(action, blob) for blob in blobs]
        done, _ = concurrent.futures.wait(pending, return_when=concurrent.futures.FIRST_EXCEPTION)
        failures = [future.exception() for future in pending if future in done]
        for failure in failures:
            if failure is not None:
                progress.stop()
                pool.shutdown(cancel_futures=True)
                raise failure
        return [future.result() for future in pending]
