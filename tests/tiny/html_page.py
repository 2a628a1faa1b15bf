"""A page of HTML as a test reads it."""

import re
from html.parser import HTMLParser

_VOID = {"meta", "br"}
_REFERRING = {"src", "href", "xlink:href", "action"}


class HtmlPage(HTMLParser):
    """Its elements and its text; one that is closed and was not open, or stays open, fails."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self._references = re.findall(r"url\(([^)]*)\)", page)
        assert "@import" not in page
        self.feed(page)
        self.close()
        assert self._open == []

    def check_alone(self) -> None:
        """Fail if it needs anything but itself."""
        assert {"script", "link", "img", "iframe"}.isdisjoint(self.elements)
        assert all(reference.startswith("#") for reference in self._references)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """HTMLParser's; the same below."""
        self.elements.append(tag)
        if tag not in _VOID:
            self._open.append(tag)
        self._references += [value or "" for name, value in attrs if name in _REFERRING]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
