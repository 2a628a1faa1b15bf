"""Checkpoints of language models: the same losses bit for bit, shared weights once."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from retort.core.errors import SealError
from retort.core.seal import sealing
from retort.data.tokenizers.text_encoder import TextEncoder
from retort.models.checkpoint import (
    WEIGHTS,
    LanguageCheckpoint,
    language_model_files,
    load_checkpoint,
    load_language_model,
    stored_weights,
)
from retort.models.config import LanguageModelConfig, WeightsConfig
from retort.models.determinism import fix_arithmetic
from retort.models.language_model import build_language_model, token_losses
from retort.models.weights import build_classifier, find_weights
from tests.tiny.checkpoints import save_checkpoint, save_language_model
from tests.tiny.inputs import write_weights

TOKENIZER = b'{"any": "bytes"}'
IDS = torch.arange(51).reshape(3, 17) % 40


def make(target: Path, family: str, tied: bool = True) -> LanguageCheckpoint:
    """A checkpoint as it is just saved, with the model that is still in memory."""
    fix_arithmetic(1)
    config = LanguageModelConfig.model_validate(
        {"family": family, "hidden": 16, "layers": 2, "heads": 2, "context": 16}
        | {"tie_embeddings": tied, "dropout": 0.1}
    )
    model = build_language_model(config, 40, seed=1).eval()
    sealed = save_language_model(
        target, model=model, tokenizer=TOKENIZER, threads=1, inputs={}, config={"seed": 1}
    )
    return LanguageCheckpoint(sealed, model, TOKENIZER, 16, 1)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_loaded_checkpoint_has_the_losses_of_the_saved_one(
    family: str, tied: bool, tmp_path: Path
) -> None:
    saved = make(tmp_path / "checkpoint", family, tied)
    loaded = load_language_model(tmp_path / "checkpoint")
    expected, actual = token_losses(saved.model, IDS), token_losses(loaded.model, IDS)
    assert torch.equal(actual.view(torch.int32), expected.view(torch.int32))
    assert (loaded.tokenizer, loaded.context, loaded.threads) == (TOKENIZER, 16, 1)
    assert loaded.sealed == saved.sealed
    assert not loaded.model.training
    again = save_language_model(
        tmp_path / "again",
        model=loaded.model,
        tokenizer=loaded.tokenizer,
        threads=loaded.threads,
        inputs={},
        config={"seed": 1},
    )
    assert again.seal == saved.sealed.seal


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_shared_matrix_is_stored_once_and_shared_again(family: str, tmp_path: Path) -> None:
    saved = make(tmp_path / "checkpoint", family)
    names = [name for name, _ in saved.model.named_parameters()]
    assert list(stored_weights(saved.model)) == names
    assert sorted(safetensors.torch.load(saved.sealed.read(WEIGHTS))) == sorted(names)
    loaded = load_language_model(tmp_path / "checkpoint").model
    assert [name for name, _ in loaded.named_parameters()] == names
    assert len(loaded.state_dict()) == len(names) + 1


def test_all_files_but_the_weights_are_known_before_training(tmp_path: Path) -> None:
    saved = make(tmp_path / "checkpoint", "llama")
    fresh = language_model_files(saved.model, tokenizer=TOKENIZER, threads=1)
    assert {*fresh, WEIGHTS} == {entry.path for entry in saved.sealed.manifest.files}
    assert all(saved.sealed.read(name) == content for name, content in fresh.items())


def test_weights_that_lack_one_or_have_one_too_many_are_refused_by_name(tmp_path: Path) -> None:
    saved = make(tmp_path / "checkpoint", "llama")
    state = stored_weights(saved.model)
    norm = "decoder.model.norm.weight"
    changes = {
        f"lacks the weight {norm}": {name: state[name] for name in state if name != norm},
        "has a surplus weight lm_head.weight": state | {"lm_head.weight": torch.zeros(1)},
    }
    for words, weights in changes.items():
        with sealing(tmp_path / "copy", kind="checkpoint", inputs={}, config={}) as directory:
            for entry in saved.sealed.manifest.files:
                (directory / entry.path).write_bytes(saved.sealed.read(entry.path))
            (directory / WEIGHTS).write_bytes(safetensors.torch.save(weights))
        with pytest.raises(SealError, match=f"not a checkpoint of ours: {WEIGHTS} {words}"):
            load_language_model(tmp_path / "copy")


def test_a_checkpoint_of_the_other_task_is_refused_and_both_are_named(tmp_path: Path) -> None:
    make(tmp_path / "language", "gpt2")
    with pytest.raises(
        SealError, match="language: is the checkpoint of a language model, and a classifier is"
    ):
        load_checkpoint(tmp_path / "language")
    weights = find_weights(WeightsConfig(directory=write_weights(tmp_path / "weights")))
    tokenise = TextEncoder.from_file(weights.directory / "tokenizer.json", 12)
    save_checkpoint(
        tmp_path / "texts",
        model=build_classifier(weights, ["a", "b"], tokenise, 0),
        tokenise=tokenise,
        labels=["a", "b"],
        threads=1,
        inputs={},
        config={},
    )
    with pytest.raises(
        SealError, match="texts: is the checkpoint of a classifier, and a language model is"
    ):
        load_language_model(tmp_path / "texts")
