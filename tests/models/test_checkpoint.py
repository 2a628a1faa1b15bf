"""Checkpoints: the same logits bit for bit after a round trip, and nothing else is believed."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from retort.core.errors import SealError
from retort.core.seal import sealing
from retort.data.tokenizers.text_encoder import TextEncoder
from retort.models.checkpoint import (
    WEIGHTS,
    Checkpoint,
    classifier_files,
    load_checkpoint,
    not_finite,
    stored_weights,
)
from retort.models.config import HeadConfig, WeightsConfig
from retort.models.predict import TextWithoutTokens, logits_of_each, predict
from retort.models.weights import build_classifier, find_weights
from tests.tiny.checkpoints import save_checkpoint
from tests.tiny.inputs import write_weights

LABELS = ("sport", "tech")
TEXTS = [
    "the match",
    "a new phone 7",
    "goal",
    "",
    "unknown words",
    *(f"goal {n}" for n in range(40)),
]
READABLE = [text for text in TEXTS if text]
STRANGER = """
import socket, sys

def no_network(*_arguments, **_keywords):
    raise AssertionError("the network was asked")

socket.socket.connect = socket.getaddrinfo = no_network
from pathlib import Path
from retort.models.checkpoint import load_checkpoint
from retort.models.predict import predict

found = predict(load_checkpoint(Path(sys.argv[1])), ["the match"])
trained = [name for name in sys.modules if name.startswith(("retort.train", "retort.evaluate"))]
assert trained == [], trained
print(found[0].label, found[0].confidence)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A checkpoint as it is just saved, with the model that is still in memory."""
    return make(tmp_path_factory.mktemp("checkpoint"), HeadConfig())


def make(root: Path, head: HeadConfig) -> Checkpoint:
    weights = find_weights(WeightsConfig(directory=write_weights(root / "weights")))
    tokenise = TextEncoder.from_file(weights.directory / "tokenizer.json", 12)
    model = build_classifier(weights, LABELS, tokenise, 3, head)
    model.train(False)
    sealed = save_checkpoint(
        root / "checkpoint",
        model=model,
        tokenise=tokenise,
        labels=LABELS,
        threads=2,
        inputs={"weights": weights.digest},
        config={"seed": 3},
    )
    return Checkpoint(sealed, model, tokenise, LABELS, 2)


def reseal(trained: Checkpoint, target: Path, changes: dict[str, bytes]) -> Path:
    """A directory with a good seal of its own, around files that were changed before."""
    with sealing(target, kind="checkpoint", inputs={}, config={}) as directory:
        for entry in trained.sealed.manifest.files:
            content = changes.get(entry.path, trained.sealed.read(entry.path))
            (directory / entry.path).write_bytes(content)
    return target


def tensors(checkpoint: Checkpoint, texts: list[str]) -> tuple[Tensor, Tensor]:
    ids, mask = map(torch.from_numpy, checkpoint.tokenise.encode(texts))
    return ids, mask


def test_a_loaded_checkpoint_has_the_logits_of_the_saved_one(trained: Checkpoint) -> None:
    loaded = load_checkpoint(trained.sealed.path)
    expected = logits_of_each(trained.model, *tensors(trained, TEXTS))
    actual = logits_of_each(loaded.model, *tensors(loaded, TEXTS))
    assert expected.shape == (len(TEXTS), 2)
    assert torch.equal(actual.view(torch.int32), expected.view(torch.int32))
    assert (loaded.labels, loaded.threads) == (LABELS, 2)
    assert loaded.sealed == trained.sealed
    assert not loaded.model.training


@pytest.mark.parametrize("pooling", ["cls", "max", "attention"])
def test_a_head_comes_back_as_it_was(pooling: str, tmp_path: Path) -> None:
    head = HeadConfig.model_validate({"pooling": pooling, "dropout": 0.25, "layer_norm": False})
    saved = make(tmp_path, head)
    loaded = load_checkpoint(saved.sealed.path)
    assert loaded.model.head.config == head
    ids, mask = tensors(saved, TEXTS)
    assert torch.equal(loaded.model(ids, mask), saved.model(ids, mask))


def test_the_weights_file_names_the_parameters_and_the_rest_is_known_before_training(
    trained: Checkpoint,
) -> None:
    sealed = trained.sealed
    names = [name for name, _ in trained.model.named_parameters()]
    assert list(stored_weights(trained.model)) == names
    assert sorted(safetensors.torch.load(sealed.read(WEIGHTS))) == sorted(names)
    fresh = classifier_files(trained.model, tokenise=trained.tokenise, labels=LABELS, threads=2)
    assert {*fresh, WEIGHTS} == {entry.path for entry in sealed.manifest.files}
    assert all(sealed.read(name) == content for name, content in fresh.items())


def test_a_trainers_files_beside_the_model_are_sealed_and_not_in_the_way(
    trained: Checkpoint, tmp_path: Path
) -> None:
    with sealing(tmp_path / "copy", kind="checkpoint", inputs={}, config={}) as directory:
        for entry in trained.sealed.manifest.files:
            (directory / entry.path).write_bytes(trained.sealed.read(entry.path))
        (directory / "optimizer.safetensors").write_bytes(b"moments")
        (directory / "progress.json").write_bytes(b"{}")
    assert predict(load_checkpoint(tmp_path / "copy"), READABLE) == predict(trained, READABLE)


def test_saving_twice_gives_one_seal(trained: Checkpoint, tmp_path: Path) -> None:
    loaded = load_checkpoint(trained.sealed.path)
    again = save_checkpoint(
        tmp_path / "again",
        model=loaded.model,
        tokenise=loaded.tokenise,
        labels=loaded.labels,
        threads=loaded.threads,
        inputs=loaded.sealed.manifest.inputs,
        config=loaded.sealed.manifest.config,
    )
    assert again.seal == trained.sealed.seal


def test_no_local_path_is_in_a_checkpoint(trained: Checkpoint) -> None:
    root = str(trained.sealed.path.parent).encode()
    for file in trained.sealed.path.iterdir():
        assert root not in file.read_bytes(), file


def test_a_stranger_loads_it_without_network_and_without_the_trainer(trained: Checkpoint) -> None:
    command = [sys.executable, "-c", STRANGER, str(trained.sealed.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = predict(trained, ["the match"])[0]
    assert done.stdout.split()[0] == expected.label
    assert float(done.stdout.split()[1]) == pytest.approx(expected.confidence, rel=1e-6)


def test_predictions_are_the_best_label_of_each_text_in_order(trained: Checkpoint) -> None:
    found = predict(trained, READABLE)
    probabilities = logits_of_each(trained.model, *tensors(trained, READABLE)).softmax(dim=1)
    for prediction, row in zip(found, probabilities.tolist(), strict=True):
        assert prediction.confidence == pytest.approx(max(row), abs=1e-6)
        assert row[LABELS.index(prediction.label)] == max(row)
    assert predict(trained, []) == []


def test_logits_are_the_same_bits_in_any_company_and_with_any_padding(trained: Checkpoint) -> None:
    ids, mask = tensors(trained, [*TEXTS, "a", "the match " * 30])
    together = logits_of_each(trained.model, ids, mask)
    wider = torch.nn.functional.pad(ids, (0, 5)), torch.nn.functional.pad(mask, (0, 5))
    for row in range(len(ids)):
        for some, theirs in ((ids, mask), wider):
            alone = logits_of_each(trained.model, some[row, None], theirs[row, None])
            assert torch.equal(alone.view(torch.int32), together[row, None].view(torch.int32))


def test_no_text_is_answered_without_a_token_or_with_what_is_not_finite(
    trained: Checkpoint,
) -> None:
    with pytest.raises(TextWithoutTokens, match="no token"):
        predict(trained, ["the match", ""])
    weight = trained.model.head.classify.bias
    before = weight.detach().clone()
    try:
        weight.data[0] = math.nan
        with pytest.raises(FloatingPointError, match="not a finite number"):
            predict(trained, ["the match"])
    finally:
        weight.data.copy_(before)


def test_a_flipped_byte_is_refused_by_the_files_name(trained: Checkpoint, tmp_path: Path) -> None:
    for entry in trained.sealed.manifest.files:
        copy = reseal(trained, tmp_path / "copy", {})
        content = bytearray((copy / entry.path).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / entry.path).write_bytes(bytes(content))
        with pytest.raises(SealError, match=f"copy/{entry.path}: is altered"):
            load_checkpoint(copy)


def test_what_is_sealed_but_not_a_checkpoint_is_refused(
    trained: Checkpoint, tmp_path: Path
) -> None:
    state = safetensors.torch.load(trained.sealed.read("model.safetensors"))
    surplus = safetensors.torch.save(state | {"more": torch.zeros(1)})
    lacking = safetensors.torch.save({key: state[key] for key in sorted(state)[1:]})
    architecture = json.loads(trained.sealed.read("config.json"))

    def facts(**changed: object) -> bytes:
        return json.dumps(json.loads(trained.sealed.read("model.json")) | changed).encode()

    changes: list[dict[str, bytes]] = [
        {"model.safetensors": surplus},
        {"model.safetensors": lacking},
        {"model.safetensors": b""},
        {"config.json": json.dumps(architecture | {"model_type": "zzz"}).encode()},
        {"config.json": json.dumps(architecture | {"hidden_size": 16}).encode()},
        {"config.json": json.dumps(architecture | {"hidden_size": "x"}).encode()},
        {"config.json": json.dumps(architecture | {"num_attention_heads": 0}).encode()},
        {"config.json": b"[]"},
        {"model.json": b"{}"},
        {"model.json": b"[]"},
        {"model.json": facts(labels=["one"])},
        {"model.json": facts(head={"pooling": "median"})},
        {"model.json": facts(head={"layer_norm": False})},
        {"model.json": facts(max_tokens=1)},
        {"model.json": facts(task="translation")},
        {"tokenizer.json": b"{}"},
    ]
    for change in changes:
        with pytest.raises(SealError, match="copy: is sealed but not a checkpoint of ours"):
            load_checkpoint(reseal(trained, tmp_path / "copy", change))
    with sealing(tmp_path / "other", kind="dataset", inputs={}, config={}):
        pass
    with pytest.raises(SealError, match="is a sealed dataset, and a checkpoint is needed"):
        load_checkpoint(tmp_path / "other")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_not_finite_is_neither_sealed_nor_loaded(
    trained: Checkpoint, tmp_path: Path, value: float
) -> None:
    state = safetensors.torch.load(trained.sealed.read(WEIGHTS))
    name = sorted(state)[1]
    state[name].view(-1)[-1] = value
    copy = reseal(trained, tmp_path / "copy", {WEIGHTS: safetensors.torch.save(state)})
    with pytest.raises(SealError, match=rf"{copy}/{WEIGHTS}: the weight {name} is not finite"):
        load_checkpoint(copy)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_first_tensor_that_is_not_finite_is_found_whatever_its_type(dtype: torch.dtype) -> None:
    largest = torch.full((3, 2), torch.finfo(dtype).max, dtype=dtype)
    fine = {"a": largest, "b": -largest, "c": torch.tensor(7), "d": largest[:0]}
    assert not_finite(fine.items()) is None
    for value in ("nan", "inf", "-inf"):
        wrong = largest.clone()
        wrong[1, 1] = float(value)
        assert not_finite({**fine, "e": wrong, "f": wrong}.items()) == "e"


def test_the_seal_that_is_named_must_be_the_checkpoints(trained: Checkpoint) -> None:
    path, seal = trained.sealed.path, trained.sealed.seal
    assert load_checkpoint(path, seal).sealed.seal == seal
    other = "sha256:" + "5" * 64
    with pytest.raises(SealError, match=f"its seal is {seal}, and {other} is wanted"):
        load_checkpoint(path, other)


def test_a_model_whose_answers_are_not_finite_is_not_loaded(
    trained: Checkpoint, tmp_path: Path
) -> None:
    state = safetensors.torch.load(trained.sealed.read(WEIGHTS))
    large = {name: weight.sign() * 1e37 for name, weight in state.items()}
    copy = reseal(trained, tmp_path / "copy", {WEIGHTS: safetensors.torch.save(large)})
    with pytest.raises(SealError, match="copy: what its model says of a text is not finite"):
        load_checkpoint(copy)
