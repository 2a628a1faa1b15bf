"""The stranger: believes a checkpoint when every byte is right, and names what is not."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from retort.core.errors import DataError, SealError, VerificationError
from retort.data.config import DataConfig
from retort.data.dataset import prepare_dataset
from retort.data.tokenise import Tokeniser
from retort.evaluate.metrics import measure
from retort.evaluate.verify import find_failure, main, read_logits, write_logits
from retort.models.checkpoint import save_checkpoint
from retort.models.config import WeightsConfig
from retort.models.determinism import fix_arithmetic
from retort.models.predict import logits_of_all
from retort.models.weights import build_classifier, find_weights
from tests.tiny import write_documents, write_weights


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """checkpoint/, dataset/, other/ (another data set) and logits."""
    root = tmp_path_factory.mktemp("verify")
    fix_arithmetic(1)
    config = DataConfig(
        source="directory", directory=write_documents(root / "documents"), max_tokens=12
    )
    dataset = prepare_dataset(config, root / "dataset")
    write_documents(root / "documents", count=3, first=30)
    prepare_dataset(config, root / "other")
    weights = find_weights(WeightsConfig(directory=write_weights(root / "weights")))
    tokenise = Tokeniser.from_file(weights.directory / "tokenizer.json", 12)
    model = build_classifier(weights, dataset.labels, tokenise, seed=3)
    model.train(False)
    tokens = tokenise.encode([document.text for document in dataset.held_out])
    write_logits(root / "logits", logits_of_all(model, tokens.ids, tokens.mask))
    save_checkpoint(
        root / "checkpoint",
        model=model,
        tokenise=tokenise,
        labels=dataset.labels,
        threads=1,
        inputs={"dataset": dataset.sealed.seal},
        config={},
    )
    return root


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def arguments(root: Path, *more: str, dataset: str = "dataset") -> list[str]:
    options = ["--checkpoint", str(root / "checkpoint"), "--dataset", str(root / dataset)]
    return [*options, "--logits", str(root / "logits"), *more]


def test_a_fresh_process_confirms_the_trained_logits(made: Path) -> None:
    command = [sys.executable, "-m", "retort.evaluate.verify", *arguments(made)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert re.fullmatch(rf"seal sha256:[0-9a-f]{{64}} {made}/checkpoint", last)
    assert re.search(r"accuracy 0\.\d{4}, macro-F1 0\.\d{4}", done.stderr)


def test_json_holds_the_metrics(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(made, "--json")) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["failure"] is None
    assert answer["path"] == str(made / "checkpoint")
    assert answer["metrics"]["documents"] == sum(map(sum, answer["metrics"]["confusion"]))


def test_a_flipped_byte_of_any_file_is_refused_by_name(copy: Path) -> None:
    files = [file for name in ("checkpoint", "dataset") for file in (copy / name).iterdir()]
    assert len(files) == 9
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
        with pytest.raises(SealError, match=re.escape(str(file))):
            main(arguments(copy))
        file.write_bytes(content)
    assert main(arguments(copy)) == 0


def test_the_process_ends_with_2_and_names_the_altered_file(copy: Path) -> None:
    weights = copy / "checkpoint" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    command = [sys.executable, "-m", "retort.evaluate.verify", *arguments(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {weights}: is altered: its SHA-256 is not the sealed one\n"


def test_logits_that_differ_in_one_bit_are_refused(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logits = read_logits(copy / "logits")
    logits.view(torch.int32)[0, 0] ^= 1
    write_logits(copy / "logits", logits)
    with pytest.raises(VerificationError, match=f"logits of 1 of {len(logits)} held-out documents"):
        main(arguments(copy, "--json"))
    assert "logits of 1 of" in json.loads(capsys.readouterr().out)["failure"]


def test_too_low_an_accuracy_is_refused(made: Path) -> None:
    with pytest.raises(VerificationError, match=r"is under evaluate\.min_accuracy 1\.0"):
        main(arguments(made, "--min-accuracy", "1.0"))


def test_another_data_set_is_refused(made: Path) -> None:
    with pytest.raises(SealError, match=r"other: its seal is .* the checkpoint was made from"):
        main(arguments(made, dataset="other"))


@pytest.mark.parametrize("content", [None, b"", b"no tensors"])
def test_logits_that_cannot_be_read_are_refused_by_name(copy: Path, content: bytes | None) -> None:
    (copy / "logits").unlink()
    if content is not None:
        (copy / "logits").write_bytes(content)
    with pytest.raises(DataError, match="copy/logits: cannot be read as logits"):
        main(arguments(copy))


def test_logits_of_another_type_or_shape_are_refused(copy: Path) -> None:
    logits = read_logits(copy / "logits")
    write_logits(copy / "logits", logits[:, :1])
    with pytest.raises(VerificationError, match="logits have shape"):
        main(arguments(copy))
    write_logits(copy / "logits", logits.double())
    with pytest.raises(DataError, match=r"torch\.float64, not float32"):
        main(arguments(copy))


def test_not_a_number_equals_itself_and_minus_zero_is_not_zero() -> None:
    metrics = measure(torch.tensor([0]), torch.tensor([0]), ["a", "b"])
    odd = torch.tensor([[float("nan"), 0.0]])
    assert find_failure(odd, odd.clone(), metrics, 0.5) is None
    assert find_failure(odd, odd * torch.tensor([[1.0, -1.0]]), metrics, 0.5) is not None
