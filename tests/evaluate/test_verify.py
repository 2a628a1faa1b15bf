"""The stranger: believes a checkpoint when every byte is right, and names what is not."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from retort.core.digest import sha256_bytes
from retort.core.errors import DataError, SealError, UserError, VerificationError
from retort.data.config import CorpusConfig
from retort.data.preparation.run import prepare_store
from retort.data.store.store import TokenStore
from retort.data.tokenizers.text_encoder import TextEncoder
from retort.evaluate.held_out import HeldOutTexts
from retort.evaluate.task import LOGITS, results_of_all
from retort.evaluate.verify import main, open_store
from retort.models.checkpoint import load_checkpoint
from retort.models.config import WeightsConfig
from retort.models.determinism import fix_arithmetic
from retort.models.predict import logits_of_each, predict
from retort.models.weights import build_classifier, find_weights
from tests.tiny.checkpoints import save_checkpoint
from tests.tiny.inputs import write_documents, write_weights
from tests.tiny.store import bert_tokenizer

LENGTH = 12


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """checkpoint/, tokens/, other/ (another store), stranger/ (of another tokenizer), logits."""
    root = tmp_path_factory.mktemp("verify")
    fix_arithmetic(1)
    config = CorpusConfig(
        source="directory", directory=write_documents(root / "documents"), held_out=0.2
    )
    weights = find_weights(WeightsConfig(directory=write_weights(root / "weights")))
    tokenise = TextEncoder.from_file(weights.directory / "tokenizer.json", LENGTH)
    prepare_store(root / "tokens", config, tokenise.definition)
    prepare_store(root / "stranger", config, bert_tokenizer())
    write_documents(root / "documents", count=3, first=30)
    prepare_store(root / "other", config, tokenise.definition)
    store = TokenStore.open(root / "tokens")
    model = build_classifier(weights, store.labels, tokenise, seed=3)
    model.train(False)
    LOGITS.write(root / "logits", results_of_all(HeldOutTexts(store, LENGTH), model))
    save_checkpoint(
        root / "checkpoint",
        model=model,
        tokenise=tokenise,
        labels=store.labels,
        threads=1,
        inputs={"tokens": store.sealed.seal},
        config={},
    )
    return root


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def arguments(root: Path, *more: str, store: str = "tokens") -> list[str]:
    options = ["--checkpoint", str(root / "checkpoint"), "--store", str(root / store)]
    return [*options, "--logits", str(root / "logits"), *more]


def test_a_fresh_process_confirms_the_trained_logits(made: Path) -> None:
    command = [sys.executable, "-m", "retort.evaluate.verify", *arguments(made)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert re.fullmatch(rf"seal sha256:[0-9a-f]{{64}} {made}/checkpoint", last)
    assert re.search(r"accuracy 0\.\d{4}, macro-F1 0\.\d{4}", done.stderr)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU of CUDA here")
def test_results_of_a_gpu_are_not_compared_with_those_of_another_device(made: Path) -> None:
    with pytest.raises(UserError, match="--device cuda: there is no CUDA device here; verify wh"):
        main(arguments(made, "--device", "cuda"))
    assert main(arguments(made, "--device", "cpu")) == 0


def test_json_holds_the_metrics(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(made, "--json")) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["failure"] is None
    assert answer["path"] == str(made / "checkpoint")
    assert answer["metrics"]["documents"] == sum(map(sum, answer["metrics"]["confusion"]))


def test_a_flipped_byte_of_any_file_is_refused_by_name(copy: Path) -> None:
    sealed = [file for name in ("checkpoint", "tokens") for file in (copy / name).rglob("*")]
    files = [file for file in sealed if file.is_file()]
    assert len(files) == 12
    assert sum(file.parent.name == "shards" for file in files) == 2
    for file in files:
        content = file.read_bytes()
        file.chmod(0o644)
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


def test_the_seal_that_is_named_must_be_the_checkpoints(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seal = load_checkpoint(made / "checkpoint").sealed.seal
    assert main(arguments(made, "--seal", seal)) == 0
    assert seal in capsys.readouterr().out
    other = "sha256:" + "5" * 64
    with pytest.raises(SealError, match=f"its seal is {seal}, and {other} is wanted"):
        main(arguments(made, "--seal", other))
    with pytest.raises(UserError, match=r"--seal latest: is not a seal; write sha256:"):
        main(arguments(made, "--seal", "latest"))


def test_a_changed_word_of_the_configuration_is_another_seal(copy: Path) -> None:
    seal = load_checkpoint(copy / "checkpoint").sealed.seal
    manifest = copy / "checkpoint" / "manifest.json"
    content = manifest.read_bytes()
    manifest.write_bytes(content.replace(b'"config":{}', b'"config":{"by":"me"}'))
    assert main(arguments(copy)) == 0
    with pytest.raises(SealError, match=rf"and {seal} is wanted"):
        main(arguments(copy, "--seal", seal))


def test_logits_that_differ_in_one_bit_are_refused(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logits = LOGITS.read(copy / "logits")
    logits.view(torch.int32)[0, 0] ^= 1
    LOGITS.write(copy / "logits", logits)
    with pytest.raises(VerificationError, match=f"logits of 1 of {len(logits)} held-out documents"):
        main(arguments(copy, "--json"))
    assert "logits of 1 of" in json.loads(capsys.readouterr().out)["failure"]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_logits_that_are_no_file_are_refused_at_once(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "logits")
    with pytest.raises(
        DataError, match="logits: cannot be read as logits: it is not a regular file"
    ):
        LOGITS.read(tmp_path / "logits")


def test_too_low_an_accuracy_is_refused(made: Path) -> None:
    with pytest.raises(VerificationError, match=r"is under evaluate\.min_accuracy 1\.0"):
        main(arguments(made, "--min-accuracy", "1.0"))


def test_too_high_a_loss_is_refused(made: Path) -> None:
    with pytest.raises(VerificationError, match=r"loss 0\.\d+ is over evaluate\.max_loss 0\.01"):
        main(arguments(made, "--max-loss", "0.01"))


@pytest.mark.parametrize("bound", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("flag", ["--min-accuracy", "--max-loss"])
def test_a_bound_that_holds_nothing_is_refused(made: Path, flag: str, bound: str) -> None:
    with pytest.raises(UserError, match=f"{flag}: {bound} is no bound"):
        main(arguments(made, f"{flag}={bound}"))


def test_a_classifier_is_not_verified_as_a_language_model(made: Path) -> None:
    options = ["--checkpoint", str(made / "checkpoint"), "--store", str(made / "tokens")]
    with pytest.raises(SealError, match="is the checkpoint of a classifier, and a language model"):
        main([*options, "--losses", str(made / "logits")])


def test_another_token_store_is_refused(made: Path) -> None:
    with pytest.raises(SealError, match=r"other: its seal is .* the checkpoint was made from"):
        main(arguments(made, store="other"))
    with pytest.raises(DataError, match="stranger: was made with another tokenizer"):
        main(arguments(made, store="stranger"))
    with pytest.raises(SealError, match="is a sealed checkpoint, and a token-store is needed"):
        main(arguments(made, store="checkpoint"))


def test_a_document_has_the_same_logits_through_the_store_as_from_its_text(made: Path) -> None:
    checkpoint = load_checkpoint(made / "checkpoint")
    store = open_store(made / "tokens", checkpoint)
    texts = {
        sha256_bytes(file.read_bytes())[:32]: file.read_text()
        for file in (made / "documents").rglob("*.txt")
    }
    part = store.part("held_out")
    assert part.over(LENGTH - 2)[0] > 0, "some are cut"
    assert part.lengths.min() < LENGTH - 2, "and some are shorter"
    held_out = [texts[part.digest(one)] for one in range(len(part))]
    measured = results_of_all(HeldOutTexts(store, LENGTH), checkpoint.model)
    for texts_at_a_time in (1, 3, len(part)):
        batches = [
            map(torch.from_numpy, checkpoint.tokenise.encode(held_out[first:][:texts_at_a_time]))
            for first in range(0, len(part), texts_at_a_time)
        ]
        served = torch.cat([logits_of_each(checkpoint.model, *batch) for batch in batches])
        assert torch.equal(served.view(torch.int32), measured.view(torch.int32))
    confidences = torch.tensor([one.confidence for one in predict(checkpoint, held_out)])
    assert torch.equal(confidences, measured.softmax(dim=1).amax(dim=1))


@pytest.mark.parametrize("content", [None, b"", b"no tensors"])
def test_logits_that_cannot_be_read_are_refused_by_name(copy: Path, content: bytes | None) -> None:
    (copy / "logits").unlink()
    if content is not None:
        (copy / "logits").write_bytes(content)
    with pytest.raises(DataError, match="copy/logits: cannot be read as logits"):
        main(arguments(copy))


def test_logits_of_another_type_or_shape_are_refused(copy: Path) -> None:
    logits = LOGITS.read(copy / "logits")
    LOGITS.write(copy / "logits", logits[:, :1])
    with pytest.raises(VerificationError, match="logits have shape"):
        main(arguments(copy))
    LOGITS.write(copy / "logits", logits.double())
    with pytest.raises(DataError, match=r"torch\.float64, not float32"):
        main(arguments(copy))


def test_not_a_number_equals_itself_and_minus_zero_is_not_zero() -> None:
    odd = torch.tensor([[float("nan"), 0.0]])
    assert LOGITS.difference(odd, odd.clone()) is None
    assert LOGITS.difference(odd, odd * torch.tensor([[1.0, -1.0]])) is not None
