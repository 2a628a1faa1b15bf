"""Reports as pages: one HTML file with everything in it, the same bytes for the same facts.

Every page is a Jinja template, in the folder `templates` of whoever writes it, that extends `page.html` of ours.
What is not `Markup` is text, and escaped.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from html import escape

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def render(package: str, template: str, **facts: object) -> str:
    """A page as HTML.

    Args:
        package: where the template lies, such as `retort.data.corpus`.
        facts: by the names that the template uses; one that is not given is an error.
    """
    return _environment(package).get_template(template).render(facts)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Markup:
    """A table whose first column is on the left."""
    return _part("table", columns, rows)


def code(text: str) -> Markup:
    """Text as a program writes it."""
    return _part("code", text)


def lines(*texts: str) -> Markup:
    """Texts below each other in one cell."""
    return _part("lines", texts)


@cache
def _environment(package: str) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("retort.core")]),
        autoescape=True,
        finalize=_html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["thousands"] = "{:,}".format
    return environment


def _html(value: object) -> Markup:
    """Quotes as `&quot;` and `&#x27;`: pages are sealed, so their spelling must not be a library's choice."""
    return value if isinstance(value, Markup) else Markup(escape(str(value)))


def _part(name: str, *facts: object) -> Markup:
    """A macro of `parts.html`, for cells and sections that a program puts together."""
    macros = vars(_environment("retort.core").get_template("parts.html").module)
    return Markup(macros[name](*facts))
