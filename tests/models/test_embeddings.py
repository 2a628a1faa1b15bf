"""An embedding model and its checkpoint: what it says, and that it is the same after a round trip."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from retort.core.errors import SealError
from retort.core.seal import verify
from retort.data.tokenizers.text_encoder import TextEncoder
from retort.models.checkpoint import load_checkpoint
from retort.models.config import HeadConfig, ModelConfig, WeightsConfig
from retort.models.embeddings import TextEmbedder, load_embedder
from retort.models.parameters import parameter_groups
from retort.models.weights import find_weights, with_new_head
from tests.tiny.checkpoints import save_checkpoint, save_embedder
from tests.tiny.inputs import write_weights

TEXTS = ["the match", "a new phone 7", "goal", "the"]


def make(root: Path, head: HeadConfig, seed: int = 0) -> tuple[TextEmbedder, TextEncoder]:
    weights = find_weights(WeightsConfig(directory=root / "weights"))
    tokenise = TextEncoder.from_file(weights.directory / "tokenizer.json", 12)
    model = with_new_head(weights, tokenise, seed, lambda backbone: TextEmbedder(backbone, head))
    return model, tokenise


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("embeddings")
    write_weights(root / "weights")
    return root


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "attention"])
def test_it_gives_the_pooled_vector_and_in_training_what_the_head_makes_of_it(
    root: Path, pooling: str
) -> None:
    model, tokenise = make(root, HeadConfig.model_validate({"pooling": pooling, "dropout": 0.0}))
    ids, mask = map(torch.from_numpy, tokenise.encode(TEXTS))
    with torch.inference_mode():
        vectors = model.eval()(ids, mask)
        hidden = model.backbone(input_ids=ids, attention_mask=mask).last_hidden_state
        pooled = model.head.pool(hidden, mask.bool())
        assert torch.equal(vectors, normalize(pooled, dim=1))
        assert torch.allclose(vectors.norm(dim=1), torch.ones(4))

        model.head.train()
        model.training = True
        projected = model(ids, mask)
        expected = model.head.classify(model.head.norm(pooled)).tanh()
        assert torch.allclose(projected, normalize(expected, dim=1), atol=1e-6)
        assert not torch.allclose(projected, vectors, atol=0.1)


def test_dropout_makes_two_views_of_a_text_and_a_seed_the_same_two(root: Path) -> None:
    model, tokenise = make(root, HeadConfig())
    ids, mask = map(torch.from_numpy, tokenise.encode(TEXTS))
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(model.train()(ids.repeat(2, 1), mask.repeat(2, 1)))
    first, second = made[0].chunk(2)
    assert not torch.allclose(first, second, atol=1e-3)
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_layers_below_the_head_learn_more_slowly_and_may_be_frozen(root: Path) -> None:
    model, _ = make(root, HeadConfig())
    config = ModelConfig.model_validate(
        {
            "weights": {"directory": str(root / "weights")},
            "embeddings": {},
            "layer_decay": 0.5,
            "freeze": {"layers": 1},
        },
        context={"start": root},
    )
    groups = parameter_groups(model, config, 0.1)
    scales = {name: group.lr_scale for group in groups for name in group.names}
    assert scales["head.classify.weight"] == 1.0
    assert scales["backbone.encoder.layer.1.output.dense.weight"] == 0.5
    assert not any("encoder.layer.0." in name for name in scales)


def test_a_checkpoint_gives_the_same_vectors_bit_for_bit(root: Path, tmp_path: Path) -> None:
    model, tokenise = make(root, HeadConfig(pooling="attention"), seed=5)
    save_embedder(tmp_path / "saved", model=model, tokenise=tokenise, threads=3)
    loaded = load_embedder(tmp_path / "saved")
    assert loaded.threads == 3
    assert loaded.tokenise.max_tokens == 12
    assert loaded.tokenizer == (root / "weights" / "tokenizer.json").read_bytes()
    ids, mask = map(torch.from_numpy, tokenise.encode(TEXTS))
    with torch.inference_mode():
        expected = model.eval()(ids, mask)
        assert torch.equal(loaded.model(ids, mask), expected)
    seal = verify(tmp_path / "saved").seal
    assert load_embedder(tmp_path / "saved", seal).sealed.seal == seal
    with pytest.raises(SealError, match="is wanted"):
        load_embedder(tmp_path / "saved", "sha256:" + "5" * 64)


def test_it_is_no_classifier_and_a_classifier_is_none(root: Path, tmp_path: Path) -> None:
    model, tokenise = make(root, HeadConfig())
    save_embedder(tmp_path / "vectors", model=model, tokenise=tokenise, threads=1)
    with pytest.raises(
        SealError, match=r"vectors: is the checkpoint of an embedding model, and a classifier is"
    ):
        load_checkpoint(tmp_path / "vectors")
    save_checkpoint(
        tmp_path / "labels",
        model=model,
        tokenise=tokenise,
        labels=[str(number) for number in range(32)],
        threads=1,
        inputs={},
        config={},
    )
    with pytest.raises(
        SealError, match=r"labels: is the checkpoint of a classifier, and an embedding model is"
    ):
        load_embedder(tmp_path / "labels")


def test_weights_too_large_for_any_answer_are_not_loaded(root: Path, tmp_path: Path) -> None:
    model, tokenise = make(root, HeadConfig())
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.sign() * 1e37)
    save_embedder(tmp_path / "large", model=model, tokenise=tokenise, threads=1)
    with pytest.raises(SealError, match="large: what its model says of a text is not finite"):
        load_embedder(tmp_path / "large")
