"""The stranger's look at a language model."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from retort.core.errors import DataError, SealError, UserError, VerificationError
from retort.data.store.store import TokenStore
from retort.evaluate.held_out import HELD_OUT, HeldOutBlocks
from retort.evaluate.language_metrics import LanguageMetrics
from retort.evaluate.task import LOSSES, results_of_all
from retort.evaluate.verify import main
from retort.models.checkpoint import load_language_model
from retort.models.config import LanguageModelConfig
from retort.models.determinism import fix_arithmetic
from retort.models.language_model import build_language_model
from tests.tiny.checkpoints import save_language_model
from tests.tiny.store import byte_level_tokenizer, documents, write_tiny_store

CONTEXT = 24


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """checkpoint/, tokens/ and the losses of the model in memory."""
    root = tmp_path_factory.mktemp("language")
    fix_arithmetic(1)
    given = documents(400, words=60)
    tokenizer = byte_level_tokenizer([one.text for one in given])
    write_tiny_store(root / "tokens", given, tokenizer=tokenizer)
    store = TokenStore.open(root / "tokens")
    config = LanguageModelConfig(
        family="llama", hidden=32, layers=2, heads=2, intermediate=64, context=CONTEXT
    )
    model = build_language_model(config, store.facts.vocabulary_size, seed=3)
    model.train(False)
    LOSSES.write(root / "losses", results_of_all(HeldOutBlocks(store, CONTEXT), model))
    save_language_model(
        root / "checkpoint",
        model=model,
        tokenizer=tokenizer,
        threads=1,
        inputs={"tokens": store.sealed.seal},
        config={},
    )
    return root


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def arguments(root: Path, *more: str) -> list[str]:
    options = ["--checkpoint", str(root / "checkpoint"), "--store", str(root / "tokens")]
    return [*options, "--losses", str(root / "losses"), *more]


def test_a_fresh_process_confirms_the_losses(made: Path) -> None:
    command = [sys.executable, "-m", "retort.evaluate.verify", *arguments(made, "--json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["failure"] is None
    metrics = LanguageMetrics.from_json(answer["metrics"])
    part = TokenStore.open(made / "tokens").part(HELD_OUT)
    assert metrics.tokens == part.tokens + len(
        part
    ), "every token and the boundary behind each text"


def test_losses_are_those_of_the_whole_text_counted_by_hand(made: Path) -> None:
    store = TokenStore.open(made / "tokens")
    model = load_language_model(made / "checkpoint").model
    boundary = store.facts.special.boundary
    assert boundary is not None
    part = store.part(HELD_OUT)
    texts = [[*part.document(number).tolist(), boundary] for number in range(len(part))]
    stream = [boundary, *(token for text in texts for token in text)]
    expected = []
    for start in range(0, len(stream) - 1, CONTEXT):
        ids = torch.tensor(stream[start : start + CONTEXT + 1])
        with torch.inference_mode():
            logits = model(ids[None, :-1])[0]
        expected.append(cross_entropy(logits, ids[1:], reduction="sum").item())
    found = LOSSES.read(made / "losses")
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_it_makes_no_difference_who_computes_which_batch(made: Path) -> None:
    store = TokenStore.open(made / "tokens")
    model = load_language_model(made / "checkpoint").model
    blocks = HeldOutBlocks(store, CONTEXT)
    assert blocks.batches == -(-blocks.blocks // (2048 // CONTEXT))
    backwards = [blocks.results(model, number) for number in reversed(range(blocks.batches))]
    assert torch.equal(torch.cat(backwards[::-1]), LOSSES.read(made / "losses"))
    assert int(blocks.targets.sum()) == store.part(HELD_OUT).tokens + len(store.part(HELD_OUT))


def test_a_loss_that_differs_in_one_bit_is_refused(copy: Path) -> None:
    losses = LOSSES.read(copy / "losses")
    losses.view(torch.int64)[0] ^= 1
    LOSSES.write(copy / "losses", losses)
    with pytest.raises(VerificationError, match=f"losses of 1 of {len(losses)} held-out blocks"):
        main(arguments(copy))


def test_what_is_asked_of_a_language_model_is_its_loss(made: Path) -> None:
    assert main(arguments(made, "--max-loss", "20")) == 0
    with pytest.raises(VerificationError, match=r"loss \d\.\d+ is over evaluate\.max_loss 1\.0"):
        main(arguments(made, "--max-loss", "1"))
    with pytest.raises(UserError, match="a language model has no accuracy"):
        main(arguments(made, "--min-accuracy", "0.5"))


def test_logits_are_no_losses_and_a_language_model_is_no_classifier(copy: Path) -> None:
    options = arguments(copy)[:-2]
    with pytest.raises(SealError, match="is the checkpoint of a language model, and a classifier"):
        main([*options, "--logits", str(copy / "losses")])
    LOSSES.write(copy / "losses", torch.zeros(3))
    with pytest.raises(DataError, match=r"losses are torch\.float32, not float64"):
        main(arguments(copy))
