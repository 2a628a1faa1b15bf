"""The page: what a person sees of a model, in a browser without JavaScript, on a desk and on a phone."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from retort.models.checkpoint import Checkpoint
from retort.models.predict import predict
from retort.serve.engine.computation import probabilities as computed
from tests.processes.forks import fork_server_for
from tests.serve.browser import CHROMIUM, DRIVER, Browser, browsing
from tests.serve.running import MAX_BODY, ServerProcess
from tests.tiny.html_page import HtmlPage

pytest_plugins = ["tests.serve.fixtures"]
forks = fork_server_for("retort.serve.main", "retort.serve.engine.model_process")

TEXT = "two goals,  one win"
NASTY = '<script>alert("x")</script> & </textarea> "quoted"'


def test_the_page_of_no_text_is_a_form(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    HtmlPage(answer.text).check_alone()
    assert "Answer" not in answer.text


def test_the_page_says_what_the_model_says(client: httpx.Client, loaded: Checkpoint) -> None:
    page = client.post("/", data={"text": TEXT}).text
    [expected] = predict(loaded, [TEXT])
    assert f"<b>{expected.label}</b>" in page
    assert f"<dd>{expected.confidence:.3f}</dd>" in page
    HtmlPage(page).check_alone()


def test_what_is_typed_is_shown_as_it_is(client: httpx.Client) -> None:
    page = client.post("/", data={"text": NASTY}).text
    assert "<script" not in page
    assert page.count("</textarea>") == 1
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("content", "kind", "status", "told"),
    [
        (b"text=++", "application/x-www-form-urlencoded", 422, "type the text"),
        (b"", "application/x-www-form-urlencoded", 422, "is there 0 times"),
        (b"text=a&text=b", "application/x-www-form-urlencoded", 422, "is there 2 times"),
        (b"text=%ff", "application/x-www-form-urlencoded", 422, "is no form"),
        ("text=ä".encode(), "application/x-www-form-urlencoded", 422, "is no form"),
        (b"a=&b=&c=&d=&text=x", "application/x-www-form-urlencoded", 422, "is no form"),
        (b'{"text": "a"}', "application/json", 415, "send content-type"),
        (b"text=" + b"a" * MAX_BODY, "application/x-www-form-urlencoded", 413, "larger than"),
    ],
)
def test_what_is_no_form_with_a_text_is_told(
    client: httpx.Client, content: bytes, kind: str, status: int, told: str
) -> None:
    answer = client.post("/", content=content, headers={"content-type": kind})
    assert answer.status_code == status
    assert told in answer.text


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("needs Debian's chromium and chromium-driver")
    with browsing(tmp_path) as found:
        yield found


@pytest.mark.parametrize("width", [1200, 500])
def test_a_person_types_a_text_and_sees_the_answer(
    browser: Browser, server: ServerProcess, loaded: Checkpoint, width: int
) -> None:
    """500 is as narrow as a window may be; the page of a phone is 390 wide, and as it is here."""
    browser.resize(width, 1000)
    browser.open(server.url)
    browser.type(browser.only("textarea"), TEXT)
    browser.click(browser.only("button"))
    [expected] = predict(loaded, [TEXT])
    assert browser.text(browser.only(".says")) == expected.label
    shares = [float(browser.text(one)) for one in browser.find(".shares dd:not(.bar)")]
    assert shares[0] == pytest.approx(expected.confidence, abs=6e-4)
    assert sum(shares) == pytest.approx(1, abs=2e-3)
    words = [browser.text(one) for one in browser.find("mark")]
    assert words == TEXT.split()
    for number, mark in enumerate(browser.find("mark")):
        rest = " ".join(words[:number] + words[number + 1 :])
        label = loaded.labels.index(expected.label)
        without = probabilities(loaded, rest)[label]
        told = float(browser.property(mark, "title"))
        assert told == pytest.approx(expected.confidence - without, abs=6e-4)
    assert browser.property(browser.only("textarea"), "value") == TEXT
    page = browser.only("html")
    assert browser.property(page, "scrollWidth") <= browser.property(page, "clientWidth")


def probabilities(loaded: Checkpoint, text: str) -> list[float]:
    ids, _ = loaded.tokenise.read(text)
    return [float(share) for share in computed(loaded, ids, [len(ids)])[0]]
