"""Progress of a preparation on standard error."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from retort.core.progress import ProgressLine
from retort.data.preparation.writer import Progress as Report


@contextmanager
def show_progress() -> Iterator[Report]:
    """Yield what a writer calls with the share that is done and documents and tokens so far."""
    with closing(ProgressLine(1.0, "0%")) as line:

        def report(share: float, documents: int, tokens: int) -> None:
            seconds = line.seconds()
            line.show(
                share,
                f"{share:.0%}",
                f"{documents:,} documents  {documents / seconds:,.0f} documents/s  "
                f"{tokens / seconds:,.0f} tokens/s",
            )

        yield report
