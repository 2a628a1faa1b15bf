"""Parts of a page: text is never taken for markup."""

from retort.core.report import code, facts_table, header, page, section, table, verdict


def test_text_is_escaped_and_html_is_not() -> None:
    assert "<title>a &lt;b&gt;</title>" in page("a <b>", "", [])
    assert "<h1>a &amp; b</h1>" in header("a & b", "<i>about</i>", "", {})
    assert "<i>about</i>" in header("", "<i>about</i>", "", {})
    assert verdict("2 < 3", good=False) == '<p class="verdict bad">2 &lt; 3</p>'
    assert code("<x>") == "<code>&lt;x&gt;</code>"
    assert "<td><code>x</code></td>" in facts_table({"name": code("x")})


def test_parts_stand_in_the_order_given() -> None:
    text = page("t", header("n", "a", verdict("v", good=True), {"m": "1"}), [section("s", "body")])
    places = [
        text.index(part) for part in ("<h1>n", "v</p>", "<b>1</b><span>m", "<h2>s", "body\n<")
    ]
    assert places == sorted(places)
    assert text.startswith("<!DOCTYPE html>")


def test_a_table_has_a_head_and_a_row_for_each() -> None:
    text = table(("label", "count"), [("x", "1"), ("y", "2")])
    assert "<th>label</th><th>count</th>" in text
    assert text.count("<tr>") == 3
    assert "<td>y</td><td>2</td>" in text
