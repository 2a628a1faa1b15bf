"""The model card, as the model hub reads it."""

import dataclasses
import re
from pathlib import Path

import torch
from huggingface_hub import ModelCard, ModelCardData

from retort.core.seal import Manifest, Sealed
from retort.evaluate.language_metrics import measure_language
from retort.evaluate.metrics import measure
from retort.evaluate.report.classifier import ClassifierResults
from retort.evaluate.report.document_facts import DocumentFacts, TokenFacts
from retort.evaluate.report.language_model import LanguageModelResults
from retort.evaluate.report.model_card import CardFacts, model_card
from retort.evaluate.report.run_facts import RunFacts

VERIFY = "./tools/bazel run //train:verify -- --checkpoint checkpoint --store tokens"


def facts(failure: str | None = None) -> CardFacts:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.5, 1.0]])
    manifest = Manifest("checkpoint", {"tokens": "sha256:" + "d" * 64}, {}, ())
    run = RunFacts(
        name="tiny_run",
        checkpoint=Sealed(Path("/nowhere"), "checkpoint", "sha256:" + "c" * 64, manifest),
        failure=failure,
        results=ClassifierResults(measure(torch.tensor([0, 1, 0]), logits, ["a|b", "sport"])),
        losses=[1.0],
        rates=[1e-4],
        gradient_norms=[1.0],
        samples=4,
        parameters=22_700_000,
        train_documents=1028,
        held_out_documents=3,
        data=DocumentFacts(40, 3, 1, 1, 917, 2),
        tokens=TokenFacts(64, 5, 1234),
        configuration="train: {}\n",
        lock="sha256:" + "f" * 64,
        commit="0123456789abcdef",
    )
    return CardFacts(
        run=run,
        dataset="bbc_news",
        base_model="sentence-transformers/all-MiniLM-L6-v2",
        verify=VERIFY,
        procedure={"optimiser steps": "240", "learning rate": "1e-4"},
    )


def read(facts: CardFacts) -> ModelCard:
    return ModelCard(model_card(facts))


def test_the_hub_reads_task_metrics_and_base_model() -> None:
    data = read(facts()).data
    assert isinstance(data, ModelCardData)
    assert data.pipeline_tag == "text-classification"
    assert data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert "reproducible" in (data.tags or [])
    assert data.license is None
    results = {one.metric_type: one for one in data.eval_results or []}
    assert results.keys() == {"accuracy", "f1", "roc_auc", "expected_calibration_error"}
    assert results["accuracy"].metric_value == round(2 / 3, 6)
    assert results["accuracy"].dataset_name == "bbc_news"
    assert data.model_name == "tiny_run"


def test_it_answers_what_a_model_card_is_asked() -> None:
    text = read(facts()).text
    headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert headings == [
        "Intended use",
        "Data",
        "Training",
        "Evaluation",
        "Limitations",
        "How to verify",
    ]
    for shown in ("66.7%", "1,028", "917", "| optimiser steps | 240 |", VERIFY, "22.7 million"):
        assert shown in text
    for identity in ("sha256:" + letter * 64 for letter in "cdf"):
        assert identity in text
    assert "0123456789abcdef" in text
    assert "Its weakest label is" in text


def test_it_says_where_its_seal_comes_out() -> None:
    native = model_card(facts())
    portable = model_card(dataclasses.replace(facts(), portable=True))
    assert "give the same seal on the same kind of processor. Typed" in native
    assert "give the same seal on every processor. Typed" in portable


def test_a_label_cannot_break_a_table() -> None:
    rows = [line for line in model_card(facts()).splitlines() if "sport" in line or "a\\|b" in line]
    for row in rows:
        if row.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", row)) == 7


def test_a_language_model_from_scratch_has_a_perplexity_and_no_base() -> None:
    metrics = measure_language(torch.full((4,), 30.0).double(), torch.full((4,), 10))
    run = dataclasses.replace(
        facts().run, results=LanguageModelResults(metrics), tokens=None, data=None
    )
    card = read(dataclasses.replace(facts(), run=run, base_model=None))
    assert isinstance(card.data, ModelCardData)
    assert card.data.pipeline_tag == "text-generation"
    assert card.data.base_model is None
    assert {one.metric_type for one in card.data.eval_results or []} == {"perplexity", "loss"}
    assert "20.09" in card.text
    assert "label" not in card.text


def test_a_failure_is_not_hidden() -> None:
    assert "failed: accuracy 0.5 is under 0.9." in model_card(facts("accuracy 0.5 is under 0.9"))
    assert "failed" not in model_card(facts())


def test_equal_facts_give_equal_cards() -> None:
    assert model_card(facts()) == model_card(facts())
