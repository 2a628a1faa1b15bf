"""A tree of weights is what transformers' modules would hold: names, order, shapes, ties, config.json."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import BertConfig

from retort.models.packed.tree import WeightTree
from tests.models.packed.test_packed import CONFIGS, built
from tests.tiny.inputs import write_weights


@pytest.mark.parametrize("name", CONFIGS)
def test_it_has_the_weights_of_transformers_modules(name: str) -> None:
    model, tree = built(name), WeightTree(CONFIGS[name])
    model.register_module("pooler", None)  # which models here do not use
    assert [(name, weight.shape) for name, weight in tree.named_parameters()] == [
        (name, weight.shape) for name, weight in model.named_parameters()
    ]
    assert set(tree.state_dict()) == set(model.state_dict())  # with both names of a shared one
    assert tree.config.to_dict() == model.config.to_dict()  # type: ignore[union-attr, operator]
    tree.load_state_dict(model.state_dict())
    assert all(map(torch.equal, tree.parameters(), model.parameters()))


def test_it_takes_weights_from_a_larger_model_of_any_dtype_and_says_what_is_missing() -> None:
    stored = {f"bert.{name}": w.half() for name, w in built("bert").named_parameters()}
    stored["cls.predictions.bias"] = torch.zeros(60)
    # As files made from TensorFlow's have it.
    stored["bert.embeddings.LayerNorm.gamma"] = stored.pop("bert.embeddings.LayerNorm.weight")
    del stored["bert.encoder.layer.1.output.dense.bias"]
    tree = WeightTree(CONFIGS["bert"])
    assert tree.fill(stored) == {"encoder.layer.1.output.dense.bias"}
    norm = tree.get_parameter("embeddings.LayerNorm.weight")
    assert norm.dtype == torch.float32
    assert torch.equal(norm, stored["bert.embeddings.LayerNorm.gamma"].float())
    stored["bert.embeddings.word_embeddings.weight"] = torch.zeros(61, 24)
    with pytest.raises(ValueError, match=r"word_embeddings.weight is stored as \[61, 24\], and"):
        tree.fill(stored)


def test_what_has_no_packed_form_has_no_tree() -> None:
    config = BertConfig(is_decoder=True)
    with pytest.raises(ValueError, match="no packed form of a model of type bert"):
        WeightTree(config)


_BUILDS = """
import sys
from pathlib import Path
from retort.models.config import WeightsConfig
from retort.models.weights import build_classifier, find_weights
from retort.data.tokenizers.text_encoder import TextEncoder
weights = find_weights(WeightsConfig(directory=Path(sys.argv[1])))
tokenise = TextEncoder.from_file(weights.directory / "tokenizer.json", 8)
model = build_classifier(weights, ["a", "b"], tokenise, 0, arithmetic=sys.argv[2])
print("transformers" in sys.modules)
"""


@pytest.mark.parametrize(("arithmetic", "imported"), [("portable", False), ("native", True)])
def test_a_portable_model_is_made_without_transformers(
    tmp_path: Path, arithmetic: str, imported: bool
) -> None:
    weights = write_weights(tmp_path / "weights")
    command = (sys.executable, "-c", _BUILDS, str(weights), arithmetic)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.split()[-1] == str(imported)
