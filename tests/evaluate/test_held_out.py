"""The held-out part in batches that never change, whoever computes them."""

from pathlib import Path

import pytest
import torch

from retort.data.config import CorpusConfig
from retort.data.preparation.run import prepare_store
from retort.data.store.store import TokenStore
from retort.data.tokenizers.text_encoder import TextEncoder
from retort.evaluate.held_out import HELD_OUT, HeldOutTexts
from retort.evaluate.task import results_of_all
from retort.models.config import WeightsConfig
from retort.models.determinism import fix_arithmetic
from retort.models.weights import build_classifier, find_weights
from tests.tiny.inputs import write_documents, write_weights


def test_it_makes_no_difference_who_computes_which_batch(tmp_path: Path) -> None:
    fix_arithmetic(1)
    documents = write_documents(tmp_path / "documents", count=100)
    config = CorpusConfig(source="directory", directory=documents, held_out=0.4)
    weights = find_weights(WeightsConfig(directory=write_weights(tmp_path / "weights")))
    tokenise = TextEncoder.from_file(weights.directory / "tokenizer.json", 16)
    prepare_store(tmp_path / "tokens", config, tokenise.definition)
    store = TokenStore.open(tmp_path / "tokens")
    model = build_classifier(weights, store.labels, tokenise, seed=3)
    model.train(False)
    texts = HeldOutTexts(store, 16)
    documents_held_out = len(store.part(HELD_OUT))
    assert texts.batches == -(-documents_held_out // 32) > 1
    backwards = [texts.results(model, number) for number in reversed(range(texts.batches))]
    joined = torch.cat(backwards[::-1])
    alone = results_of_all(texts, model)
    assert joined.shape == (documents_held_out, 2)
    assert torch.equal(joined.view(torch.int32), alone.view(torch.int32))
    metrics = texts.measure(alone)
    assert metrics.documents == documents_held_out
    right = alone.argmax(dim=1) == torch.from_numpy(store.part(HELD_OUT).labels)
    assert metrics.accuracy == pytest.approx(right.double().mean().item())
