"""The report of a corpus: one well-formed file that needs nothing else, equal for equal corpora."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from retort.data.config import CorpusConfig
from retort.data.corpus.corpus import Corpus, survey
from retort.data.corpus.report import render
from tests.tiny.html_page import HtmlPage

PROGRAM = (
    "import sys, importlib.util, pathlib\n"
    "spec = importlib.util.spec_from_file_location('report_test', sys.argv[1])\n"
    "module = importlib.util.module_from_spec(spec)\n"
    "spec.loader.exec_module(module)\n"
    "page = module.render(module.corpus(pathlib.Path(sys.argv[2])))\n"
    "sys.stdout.buffer.write(page.encode())"
)


def corpus(root: Path) -> Corpus:
    root.mkdir(parents=True)
    lines = [
        f"{number} words of {number},{'tech' if number % 2 else '<b>$x$</b>'}"
        for number in range(200)
    ]
    lines += ["1 words of 1!,tech", "again and again,tech", "again and again,tech"]
    content = "text,label\n" + "\n".join(lines) + "\n"
    (root / "file").write_bytes(content.encode() + b"caf\xe9 <i>,tech\n")
    files = {"paths": [str(root / "file")], "label": "label"}
    return survey(CorpusConfig.model_validate({"source": "csv", "files": files, "held_out": 0.2}))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return render(corpus(tmp_path_factory.mktemp("report") / "one"))


def test_the_page_is_well_formed_needs_nothing_else_and_shows_the_findings(page: str) -> None:
    parsed = HtmlPage(page)
    parsed.check_alone()
    assert parsed.elements.count("svg") == 2
    for shown in ("<b>$x$</b>", "exact duplicates, removed", "read as Latin-1", "file"):
        assert shown in parsed.text
    assert "sha256:" in parsed.text


def test_pictures_are_vectors_in_the_colour_of_the_page(page: str) -> None:
    for picture in page.split("<svg ")[1:]:
        text = "<svg " + picture.split("</svg>")[0] + "</svg>"
        root = ElementTree.fromstring(text)
        assert root.attrib["aria-label"]
        assert "currentColor" in text
        assert "#010203" not in text


def test_another_process_renders_the_same_bytes_elsewhere(page: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, __file__, str(tmp_path / "far" / "away")],
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode() == page
    assert str(tmp_path) not in page
