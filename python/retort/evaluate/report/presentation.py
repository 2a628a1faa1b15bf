"""What a task says of its results, in the report and on the model card."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from markupsafe import Markup

from retort.evaluate.task import Measured


class Presentation(Protocol):
    """The results of one run, told."""

    @property
    def metrics(self) -> Measured:
        """What is told."""

    @property
    def headline(self) -> str:
        """The figure that counts, with its name: `accuracy 97.1%`."""

    @property
    def results(self) -> str:
        """What was compared bit for bit, such as `logits`."""

    @property
    def samples(self) -> str:
        """What a batch is made of, such as `documents`."""

    def cards(self) -> dict[str, str]:
        """Figures at the top of the report, by what they mean."""

    def sections(self) -> list[tuple[str, Markup]]:
        """Sections of the report besides those of every run: their titles and what is in them."""

    @property
    def pipeline_tag(self) -> str:
        """What the model hub calls the task."""

    @property
    def tags(self) -> Sequence[str]:
        """Under which the hub finds the model."""

    def hub_metrics(self) -> Mapping[str, float | None]:
        """Figures by the hub's names; None: there is no such one."""

    def summary(self, size: str, start: str | None) -> str:
        """What the model is, and its best figure, Markdown.

        Args:
            size: how many parameters; start: whose weights it was fine-tuned from.
        """

    def intended_use(self, dataset: str) -> str:
        """What it is for, and is not, Markdown."""

    def evaluation(self) -> str:
        """Every figure, Markdown."""

    def limitations(self) -> list[str]:
        """What is to be known of it, each one point, Markdown."""
