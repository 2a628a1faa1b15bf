"""Exports: what they hold, what they say that they cost, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from retort.core.errors import SealError, UserError, VerificationError
from retort.core.seal import sealing, verify
from retort.data.config import CorpusConfig
from retort.data.preparation.run import prepare_store
from retort.data.store.store import TokenStore
from retort.data.tokenizers.text_encoder import TextEncoder
from retort.evaluate import verify as stranger
from retort.evaluate.task import LOGITS
from retort.export.exported import Wanted
from retort.export.main import EXPORT, export, export_onnx, main
from retort.export.onnx_graph import GRAPH, OnnxModel
from retort.models.checkpoint import WEIGHTS, load_checkpoint
from retort.models.config import ArithmeticName, PrecisionName, WeightsConfig
from retort.models.description import KIND, MODEL, Calibration
from retort.models.predict import predict
from retort.models.weights import build_classifier, find_weights
from tests.tiny.checkpoints import save_checkpoint, write_exported, write_served
from tests.tiny.inputs import write_documents, write_weights

LENGTH = 12


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tokens/, and checkpoints portable/ and native/ of them."""
    root = tmp_path_factory.mktemp("export")
    documents = write_documents(root / "documents", count=20)
    config = CorpusConfig(source="directory", directory=documents, held_out=0.5)
    weights = find_weights(WeightsConfig(directory=write_weights(root / "weights")))
    tokenise = TextEncoder.from_file(weights.directory / "tokenizer.json", LENGTH)
    prepare_store(root / "tokens", config, tokenise.definition)
    store = TokenStore.open(root / "tokens")
    arithmetics: tuple[ArithmeticName, ...] = ("portable", "native")
    for arithmetic in arithmetics:
        model = build_classifier(weights, store.labels, tokenise, seed=3, arithmetic=arithmetic)
        with torch.no_grad():
            model.head.classify.weight *= 40
        save_checkpoint(
            root / arithmetic,
            model=model,
            tokenise=tokenise,
            labels=store.labels,
            threads=1,
            inputs={"tokens": store.sealed.seal},
            config={},
        )
    return root


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_an_export_answers_nearly_as_what_it_is_of_and_a_stranger_verifies_it(
    made: Path, tmp_path: Path, precision: PrecisionName, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = ["--precision", precision, "--max-accuracy-loss", "0.2"]
    assert main(["--checkpoint", str(made / "portable"), "--out", str(out), *options]) == 0
    said = capsys.readouterr()
    sealed = verify(out, kind=KIND)
    assert said.out == f"seal {sealed.seal} {out}\n"
    assert "accuracy " in said.err
    assert sealed.manifest.inputs == {
        "checkpoint": verify(made / "portable").seal,
        "tokens": verify(made / "tokens").seal,
    }
    change = json.loads(sealed.read(EXPORT))
    assert 0 < change["shift"] < 0.1
    results = ["--store", str(made / "tokens"), "--logits", str(LOGITS.path(out))]
    assert stranger.main(["--checkpoint", str(out), *results]) == 0
    with pytest.raises(VerificationError, match="differ from"):
        stranger.main(["--checkpoint", str(made / "portable"), *results])
    loaded = load_checkpoint(out)
    assert loaded.precision == precision
    texts = ["alpha beta", "gamma"]
    before = predict(load_checkpoint(made / "portable"), texts)
    for one, other in zip(before, predict(loaded, texts), strict=True):
        assert one.confidence == pytest.approx(other.confidence, abs=0.1)


def test_an_export_of_int8_is_smaller_and_stores_levels(made: Path, tmp_path: Path) -> None:
    export(
        load_checkpoint(made / "portable"),
        made / "tokens",
        tmp_path / "out",
        Wanted("int8"),
        most=1,
    )
    state = safetensors.torch.load_file(tmp_path / "out" / WEIGHTS)
    before = safetensors.torch.load_file(made / "portable" / WEIGHTS)
    for name, weight in state.items():
        if weight.dtype == torch.int8:
            scales = state[name.replace(".weight", ".scales")]
            assert (weight * scales[:, None] - before[name]).abs().max() <= 0.51 * scales.max()
        elif not name.endswith(".scales"):
            assert torch.equal(weight, before[name])
    assert sum(weight.dtype == torch.int8 for weight in state.values()) % 6 == 0


def test_a_calibrated_export_is_surer_by_as_much_and_says_unknown(
    made: Path, tmp_path: Path
) -> None:
    wanted = Wanted(calibrate=True, unknown=0.5)
    source = load_checkpoint(made / "native")
    sealed, change = export(source, made / "tokens", tmp_path / "out", wanted, most=0)
    assert (change.answers, change.shift) == (0, 0)
    assert change.after.loss < change.before.loss
    assert 0 < change.wrong <= change.unknown < change.after.documents
    loaded = load_checkpoint(tmp_path / "out")
    assert loaded.calibration.temperature != 1
    assert len(loaded.calibration.thresholds) == len(loaded.labels)
    assert (
        json.loads(sealed.read(MODEL))["calibration"]["temperature"]
        == loaded.calibration.temperature
    )
    assert any("unknown: " in line for line in change.lines())


@pytest.mark.parametrize("arithmetic", ["portable", "native"])
def test_a_graph_says_the_same_of_texts_of_any_length_and_of_many(
    made: Path, tmp_path: Path, arithmetic: ArithmeticName
) -> None:
    out = tmp_path / "onnx"
    assert main(["--checkpoint", str(made / arithmetic), "--out", str(out), "--onnx"]) == 0
    sealed = verify(out, kind="onnx")
    change = json.loads(sealed.read(EXPORT))
    assert change["answers"] == 0
    assert change["shift"] < 1e-4
    loaded = load_checkpoint(made / arithmetic)
    graph = OnnxModel(out / GRAPH)
    ids, mask = map(
        torch.from_numpy, loaded.tokenise.encode(["a", "alpha beta gamma delta", "beta beta"])
    )
    with torch.inference_mode():
        expected = loaded.model(ids, mask)
    assert torch.allclose(graph(ids, mask), expected, atol=1e-4)
    for row, count in enumerate(mask.sum(dim=1).tolist()):
        alone = graph(ids[row : row + 1, :count], mask[row : row + 1, :count])
        assert torch.allclose(alone, expected[row : row + 1], atol=1e-4)


def test_a_graph_that_says_something_else_is_not_made(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens are in another order."""

    def forgetful(self: OnnxModel, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return forward(self, ids.roll(1, dims=1), mask)

    forward = OnnxModel.forward
    monkeypatch.setattr(OnnxModel, "forward", forgetful)
    with pytest.raises(VerificationError, match=r"a probability would differ by .*nothing was"):
        export_onnx(load_checkpoint(made / "portable"), made / "tokens", tmp_path / "onnx", most=1)
    assert list(tmp_path.iterdir()) == []


def test_one_that_is_worse_than_it_may_be_is_not_made(made: Path, tmp_path: Path) -> None:
    source = load_checkpoint(made / "portable")
    with pytest.raises(VerificationError, match=r"may fall by -1 .*nothing was written"):
        export(source, made / "tokens", tmp_path / "out", Wanted("int8"), most=-1)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_told(made: Path, tmp_path: Path) -> None:
    def refused(told: str, source: Path, wanted: Wanted) -> None:
        with pytest.raises(UserError, match=told):
            export(load_checkpoint(source), made / "tokens", tmp_path / "out", wanted, most=1)

    exported = write_exported(tmp_path / "int8", made / "portable", "int8")
    refused("is an export already", exported, Wanted("bfloat16"))
    refused("is in native arithmetic", made / "native", Wanted("int8"))
    refused(
        "another tokenizer than the model's",
        write_served(tmp_path / "tiny", "portable"),
        Wanted("int8"),
    )
    with pytest.raises(UserError, match="nothing is to be changed"):
        main(["--checkpoint", str(made / "portable"), "--out", str(tmp_path / "out")])
    with pytest.raises(UserError, match="--onnx is of the model as it was trained"):
        main(["--checkpoint", "x", "--out", "y", "--onnx", "--calibrate"])
    with pytest.raises(SealError, match="portable: is sealed and no export"):
        main(
            [
                *("--checkpoint", str(made / "portable"), "--out", str(made / "portable")),
                *("--precision", "int8"),
            ]
        )
    with pytest.raises(UserError, match=r"1\.5 is not from 0 to 1"):
        main(["--checkpoint", "x", "--out", "y", "--unknown", "1.5"])


def drop_scales(state: dict[str, torch.Tensor]) -> None:
    del state[next(name for name in state if name.endswith(".scales"))]


def drop_levels(state: dict[str, torch.Tensor]) -> None:
    del state[next(name for name in state if name.endswith(".scales")).replace("scales", "weight")]


def widen(state: dict[str, torch.Tensor]) -> None:
    name = next(name for name in state if name.endswith(".scales"))
    state[name] = torch.ones(len(state[name]) + 1)


def lowest(state: dict[str, torch.Tensor]) -> None:
    next(one for one in state.values() if one.dtype == torch.int8)[0, 0] = -128


def infinite(state: dict[str, torch.Tensor]) -> None:
    state[next(name for name in state if name.endswith(".scales"))][0] = float("inf")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (drop_scales, "has levels none"),
        (drop_levels, "has scales and no levels"),
        (widen, "scales has .* elements in a row"),
        (lowest, "give int8 from -127 to 127"),
        (infinite, "is not finite"),
    ],
)
def test_levels_that_do_not_fit_are_refused(
    made: Path, tmp_path: Path, spoil: Callable[[dict[str, torch.Tensor]], None], told: str
) -> None:
    sealed = verify(write_exported(tmp_path / "good", made / "portable", "int8"))
    state = safetensors.torch.load(sealed.read(WEIGHTS))
    spoil(state)
    with sealing(tmp_path / "bad", kind=KIND, inputs={}, config={}) as folder:
        for file in sealed.manifest.files:
            (folder / file.path).write_bytes(sealed.read(file.path))
        safetensors.torch.save_file(state, folder / WEIGHTS)
    with pytest.raises(SealError, match=told):
        load_checkpoint(tmp_path / "bad")


@pytest.mark.parametrize(
    ("calibration", "told"),
    [
        (Calibration(0.0), "has temperature 0"),
        (Calibration(-1.0), "has temperature -1"),
        (Calibration(1.5, (0.5,)), "1 thresholds for"),
    ],
)
def test_a_calibration_that_is_none_is_refused(
    made: Path, tmp_path: Path, calibration: Calibration, told: str
) -> None:
    with pytest.raises(SealError, match=told):
        load_checkpoint(write_exported(tmp_path / "out", made / "portable", "float32", calibration))


def test_a_precision_that_is_none_is_refused(made: Path, tmp_path: Path) -> None:
    sealed = verify(made / "native")
    for precision, told in (("int4", "has precision 'int4'"), ("int8", "is for portable")):
        with sealing(tmp_path / precision, kind=KIND, inputs={}, config={}) as folder:
            for file in sealed.manifest.files:
                (folder / file.path).write_bytes(sealed.read(file.path))
            facts = {**json.loads(sealed.read(MODEL)), "precision": precision}
            (folder / MODEL).write_text(json.dumps(facts))
        with pytest.raises(SealError, match=told):
            load_checkpoint(tmp_path / precision)
