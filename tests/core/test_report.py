"""Pages: text is never taken for markup, and stands where the template says."""

from pathlib import Path

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from retort.core.report import code, lines, render, table

FACTS = {"title": "a <b>", "name": "a & b", "verdicts": [("2 < 3", False), ("'x'", True)]}
TEMPLATE = """{% extends "page.html" %}
{% from "parts.html" import section %}
{% block about %}about{% endblock %}
{% block sections %}
{% call section("s") %}{{ body }}{% endcall %}
{% endblock %}
"""


@pytest.fixture()
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """One that writes a page."""
    name = f"reporting_{tmp_path.name}"
    (tmp_path / name / "templates").mkdir(parents=True)
    (tmp_path / name / "__init__.py").touch()
    (tmp_path / name / "templates/page_test.html").write_text(TEMPLATE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def page(package: str, **facts: object) -> str:
    return render(package, "page_test.html", **FACTS | {"figures": {}} | facts)


def test_text_is_escaped_and_markup_is_not(package: str) -> None:
    text = page(package, body="<i>text</i>")
    assert "<title>a &lt;b&gt;</title>" in text
    assert "<h1>a &amp; b</h1>" in text
    assert '<p class="verdict bad">2 &lt; 3</p><p class="verdict good">&#x27;x&#x27;</p>' in text
    assert "<h2>s</h2>\n&lt;i&gt;text&lt;/i&gt;\n" in text
    assert "<h2>s</h2>\n<i>markup</i>\n" in page(package, body=Markup("<i>markup</i>"))


def test_parts_of_a_program_are_markup_and_what_they_are_given_is_text() -> None:
    assert code("<x>") == "<code>&lt;x&gt;</code>"
    assert lines("'a'", '"b"') == "&#x27;a&#x27;<br>&quot;b&quot;"
    assert "<td><code>x</code></td><td>&lt;y&gt;</td>" in table(("", ""), [(code("x"), "<y>")])


def test_parts_stand_in_the_order_given(package: str) -> None:
    text = page(package, figures={"m": "1", "n": "<2>"}, body="body")
    parts = (
        *("<h1>a", '<p class="soft">about</p>', "3</p>", "<b>1</b><span>m"),
        *("<b>&lt;2&gt;</b><span>n", "<h2>s", "body\n<"),
    )
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert text.startswith("<!DOCTYPE html>")
    assert text.endswith("</section>\n</main>\n</body>\n</html>\n")


def test_a_table_has_a_head_and_a_row_for_each() -> None:
    text = table(("label", "count"), [("x", "1"), ("y", "2")])
    assert "<th>label</th><th>count</th>" in text
    assert text.count("<tr>") == 3
    assert "<td>y</td><td>2</td>" in text


def test_a_fact_that_is_not_given_is_an_error(package: str) -> None:
    with pytest.raises(UndefinedError, match="body"):
        page(package)
