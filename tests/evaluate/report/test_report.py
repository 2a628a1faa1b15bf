"""The report: one well-formed file that needs nothing else and is the same for the same run."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from torch.nn.functional import one_hot

from retort.core.errors import SealError
from retort.core.seal import Manifest, Sealed, sealing, verify
from retort.evaluate.language_metrics import measure_language
from retort.evaluate.metrics import measure
from retort.evaluate.report.classifier import ClassifierResults
from retort.evaluate.report.document_facts import DocumentFacts, TokenFacts, document_facts
from retort.evaluate.report.language_model import LanguageModelResults
from retort.evaluate.report.report import render
from retort.evaluate.report.run_facts import Evaluation, RunFacts
from retort.evaluate.report.training_plots import running_mean
from tests.tiny.html_page import HtmlPage
from tests.tiny.store import documents, write_tiny_store

DOCUMENTS = DocumentFacts(
    documents=40, duplicates=3, ambiguous=1, empty=1, near_removed=917, not_utf8=2
)


def facts(failure: str | None = None) -> RunFacts:
    targets = torch.tensor([0, 1, 2, 0, 1, 2, 2])
    logits = 2 * one_hot(torch.tensor([0, 1, 2, 1, 1, 2, 0])).float()
    metrics = measure(targets, logits, ["<b>art</b>", "sport", "tech $1"])
    inputs = {"tokens": "sha256:" + "d" * 64, "weights": "sha256:" + "e" * 64}
    manifest = Manifest("checkpoint", inputs, {}, ())
    return RunFacts(
        name="tiny & fast",
        checkpoint=Sealed(Path("/nowhere"), "checkpoint", "sha256:" + "c" * 64, manifest),
        failure=failure,
        results=ClassifierResults(metrics),
        losses=[1.5, 1.0, 0.5, 0.25],
        rates=[1e-4, 2e-4, 1e-4, 0.0],
        gradient_norms=[3.0, 1.0, 0.5, 0.0],
        samples=32,
        parameters=22_700_000,
        train_documents=28,
        held_out_documents=7,
        data=DOCUMENTS,
        tokens=TokenFacts(max_tokens=64, truncated=5, dropped=1234),
        configuration="train:\n  seed: 0 # <script>\n",
        evaluations=[
            Evaluation(2, {"accuracy": 0.5, "loss": 0.9}),
            Evaluation(3, {"accuracy": 0.8125, "loss": 0.7}),
            Evaluation(4, {"accuracy": 0.75, "loss": 0.8}),
        ],
        best_step=3,
        lock="sha256:" + "f" * 64,
        commit="0123456789abcdef0123456789abcdef01234567",
        beside={"timings.html": "throughput & the share of each kind of work"},
    )


def language_facts() -> RunFacts:
    metrics = measure_language(torch.full((4,), 30.0).double(), torch.full((4,), 10))
    evaluations = [Evaluation(step, {"loss": 4 - step / 4}) for step in (1, 2, 3, 4)]
    return dataclasses.replace(
        facts(),
        results=LanguageModelResults(metrics),
        tokens=None,
        evaluations=evaluations,
        best_step=4,
    )


@pytest.fixture(scope="module")
def page() -> str:
    return render(facts())


def test_the_page_is_well_formed_and_shows_every_figure(page: str) -> None:
    text = HtmlPage(page).text
    digests = ("sha256:" + letter * 64 for letter in "cdef")
    for shown in ("71.4%", "22.7 M", "1,234", "917", "0123456789abcdef0123456789", *digests):
        assert shown in text
    for shown in ("best: step 3, 0.8125", "timings.html", "throughput & the share"):
        assert shown in text
    assert "Verified" in text
    assert "bit for bit" in text


def test_the_page_needs_nothing_but_itself(page: str) -> None:
    HtmlPage(page).check_alone()


def test_a_store_that_knows_nothing_of_its_source_is_shown_without(tmp_path: Path) -> None:
    write_tiny_store(tmp_path / "x", documents(40))
    found = document_facts(verify(tmp_path / "x"))
    assert found is None
    page = render(dataclasses.replace(facts(), data=found))
    assert "held out" in page
    assert "read from the source" not in page


@pytest.mark.parametrize("content", [b"[]", b"{}", b"\xff", b'{"documents": 1, "encodings": 2}'])
def test_figures_of_another_program_are_refused_by_name(tmp_path: Path, content: bytes) -> None:
    with sealing(tmp_path / "x", kind="token-store", inputs={}, config={}) as directory:
        (directory / "validation.json").write_bytes(content)
    with pytest.raises(SealError, match=r"x/validation\.json: is not the figures of a corpus"):
        document_facts(verify(tmp_path / "x"))


def test_names_and_configuration_are_text_and_not_markup(page: str) -> None:
    assert "<b>art</b>" not in page
    assert "&lt;b&gt;art&lt;/b&gt;" in page
    assert "&lt;script&gt;" in page
    assert "tiny &amp; fast" in page


def test_pictures_are_vectors_in_the_colour_of_the_page(page: str) -> None:
    pictures = re.findall(r"<svg .*?</svg>", page, flags=re.DOTALL)
    assert len(pictures) == 4
    for picture in pictures:
        # The doctype and the namespace prefix that matplotlib declares are not needed inside HTML.
        root = ElementTree.fromstring(picture)
        assert root.attrib["aria-label"]
        assert "currentColor" in picture
        assert "#010203" not in picture
        assert "data:image" not in picture
    assert "28.6%" not in pictures[2]
    assert "66.7%" in pictures[2], "two of the three of the last label are right"
    assert "tech $1" in pictures[2]


def test_a_language_model_has_a_perplexity_and_no_confusion() -> None:
    text = HtmlPage(render(language_facts())).text
    assert "20.09" in text, "e to the power of 30 nats over 10 tokens"
    assert "losses equal, bit for bit" in text
    assert "best: step 4, 3" in text
    assert "blocks seen" in text
    for absent in ("Confusion", "Reliability", "accuracy", "tokens cut off"):
        assert absent not in text


def test_a_label_without_an_area_under_its_curve_has_none() -> None:
    metrics = measure(torch.tensor([0, 0]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]), ["a", "b"])
    page = render(
        dataclasses.replace(
            facts(), results=ClassifierResults(metrics), evaluations=(), best_step=None
        )
    )
    assert "<td>none</td>" in page
    assert "Evaluations" not in page


def test_a_failed_run_says_why() -> None:
    page = render(facts(failure="accuracy 0.5 is under 0.88 <sad>"))
    assert "Failed: accuracy 0.5 is under 0.88 &lt;sad&gt;." in page
    assert "Verified" not in page


def test_another_process_renders_the_same_bytes(page: str) -> None:
    program = (
        "import sys, importlib.util\n"
        "spec = importlib.util.spec_from_file_location('report_test', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "sys.stdout.buffer.write(module.render(module.facts()).encode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, __file__], capture_output=True, check=True
    )
    assert done.stdout.decode() == page


def test_the_running_mean_starts_at_the_first_value_and_stays_in_range() -> None:
    values = [3.0, 1.0, 2.0] * 20
    mean = running_mean(values)
    assert mean[0] == 3.0
    assert all(1.0 <= value <= 3.0 for value in mean)
    assert mean[-1] == pytest.approx(2.0, abs=0.5)
    assert running_mean([5.0]) == [5.0]
