"""The recipes that have names."""

import subprocess
import sys
from pathlib import Path

import pytest

from retort.core.config import load_recipe, recipe_names, to_yaml
from retort.core.digest import canonical_json
from retort.core.errors import ConfigError
from retort.core.seal import Manifest
from retort.data.config import seal_settings
from retort.train.recipe import TrainingRecipe, recipes, sealed_configuration

NAMES = recipe_names(recipes())


def test_the_promised_recipes_are_there() -> None:
    assert {"smoke", "bbc_minilm", "agnews_distilbert", "imdb_distilbert"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_valid_and_holds_its_run_to_an_accuracy_or_a_loss(name: str) -> None:
    config = load_recipe(TrainingRecipe, recipes() / f"{name}.yaml", [], Path()).config
    if "accuracy" in config.model.rules.metrics:
        assert config.evaluate.min_accuracy > 0.8
    else:
        assert config.evaluate.max_loss is not None
    assert "lr:" in to_yaml(config)


def test_smoke_is_what_is_promised_of_it() -> None:
    config = load_recipe(TrainingRecipe, recipes() / "smoke.yaml", [], Path()).config
    assert (config.train.steps, config.evaluate.min_accuracy) == (100, 0.88)
    assert (config.data.source, config.data.held_out) == ("bbc_news", 0.2)
    assert config.model.weights is not None
    assert config.model.weights.hub is None, "the first minute needs no network"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.learning_rate=1", "unknown key optimizer.learning_rate"),
        ("train.steps=0", "train.steps cannot be 0"),
        ("data.source=bbc", "data.source cannot be 'bbc'; did you mean bbc_news?"),
        ("data.source=directory", "data.directory goes with data.source: directory"),
        ("data.source=token_store", "data.store goes with data.source: token_store"),
        ("data.store=tokens", "data.store goes with data.source: token_store"),
        ("model.weights={}", "give model.weights.directory, model.weights.package"),
        ("schedule.decay=exponential", "allowed: linear, cosine, none"),
        ("evaluate.min_accuracy=88", "less than or equal to 1"),
        (
            "optimizer.betas=[0.9, 1.0]",
            "optimizer.betas.1 cannot be 1.0: input should be less than 1",
        ),
        ("optimizer.betas=[2, 3]", "optimizer.betas.0 cannot be 2: input should be less than 1"),
        (
            "optimizer.betas=[-1, 0.9]",
            "optimizer.betas.0 cannot be -1: input should be greater than",
        ),
        ("optimizer.lr=1e39", "optimizer.lr cannot be 1e+39: input should be less than or equal"),
        (
            "optimizer.lr=1e-40",
            "optimizer.lr cannot be 1e-40: input should be greater than or equal",
        ),
        (
            "optimizer.eps=1e-40",
            "optimizer.eps cannot be 1e-40: input should be greater than or eq",
        ),
        ("optimizer.weight_decay=1e39", "optimizer.weight_decay cannot be 1e+39"),
        ("train.steps=10000000000", "train.steps cannot be 10000000000: input should be less than"),
        ("train.seed=-1", "train.seed cannot be -1"),
        ("train.shards=5000", "train.shards cannot be 5000"),
        ("divergence.window=1000000000", "divergence.window cannot be 1000000000"),
        ("data.held_out=5e-324", "data.held_out cannot be 5e-324"),
        (
            "model.weights.directory=~nosuchuser/x",
            "model.weights.directory: ~nosuchuser/x: there is",
        ),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_recipe(TrainingRecipe, recipes() / "smoke.yaml", [override], Path())
    assert message in str(error.value)
    assert override in str(error.value)


GPT2 = "model={language_model: {family: gpt2, hidden: 16, layers: 1, heads: 2, context: 64}}"
LANGUAGE = [GPT2, "evaluate={}", "tokenizer={file: tokenizer.json}"]
EMBEDDINGS = "model.embeddings={}"
STORE = "data={source: token_store, store: tokens, max_tokens: 64}"
_TOKENIZER = "section tokenizer goes with model.language_model and documents that are not a token"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.shards=3"], "train.batch 8 cannot be cut into train.shards 3 of equal size"),
        (["train.batch=6", "train.shards=4"], "train.batch 6 cannot be cut into train.shards 4"),
        (["train.shards=16"], "train.batch 8 cannot be cut into train.shards 16"),
        (
            ["evaluate.patience=2"],
            "evaluate.patience and evaluate.select: best need evaluate.every",
        ),
        (["evaluate.select=best"], "evaluate.patience and evaluate.select: best need evaluate"),
        (["deepspeed.zero_stage=2"], "section deepspeed goes with backend: deepspeed, and only"),
        (
            ["backend=deepspeed", "deepspeed.offload=optimizer_and_parameters"],
            "offload 'optimizer_and_parameters' needs zero_stage 3, not 2",
        ),
        (["tokenizer={file: tokenizer.json}"], _TOKENIZER),
        ([GPT2, "evaluate={}"], _TOKENIZER),
        ([*LANGUAGE, STORE], _TOKENIZER),
        ([*LANGUAGE, "train.label_smoothing=0.1"], "train.label_smoothing is of no use to a"),
        ([*LANGUAGE, "train.class_weights=balanced"], "train.class_weights is of no use to a"),
        ([*LANGUAGE, "evaluate.metric=accuracy"], "a language model is held to its loss"),
        ([*LANGUAGE, "evaluate.min_accuracy=0.5"], "a language model is held to its loss"),
        ([*LANGUAGE, "model.layer_decay=0.9"], "model.layer_decay is of no use to a"),
        ([*LANGUAGE, "model.weights.package=x"], "give model.weights (pretrained, for"),
        (
            [EMBEDDINGS, "train.label_smoothing=0.1"],
            "train.label_smoothing is of no use to an embed",
        ),
        ([EMBEDDINGS, "evaluate.metric=macro_f1"], "an embedding model is held to its accuracy or"),
        ([EMBEDDINGS, "train.shards=8"], "train.batch 8 in train.shards 8: an embedding model"),
        ([*LANGUAGE, EMBEDDINGS], "model.embeddings is of no use to a language model; remove"),
        (["model={}"], "give model.weights (pretrained, for a classifier or"),
    ],
)
def test_sections_that_do_not_go_together_are_told(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_recipe(TrainingRecipe, recipes() / "smoke.yaml", overrides, Path())
    assert message in str(error.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["train.shards=8"],
        ["train.shards=1"],
        ["evaluate.every=5", "evaluate.patience=2", "evaluate.select=best"],
        ["backend=deepspeed"],
        ["backend=deepspeed", "deepspeed.zero_stage=3"],
        [*LANGUAGE],
        [GPT2, "evaluate={}", STORE],
        [*LANGUAGE, "evaluate.max_loss=3.5"],
    ],
)
def test_sections_that_go_together_are_read_and_written_and_read_again(
    overrides: list[str], tmp_path: Path
) -> None:
    config = load_recipe(TrainingRecipe, recipes() / "smoke.yaml", overrides, tmp_path).config
    (tmp_path / "recipe.yaml").write_text(to_yaml(config))
    again = load_recipe(TrainingRecipe, tmp_path / "recipe.yaml", [], Path()).config
    assert again == config


@pytest.mark.parametrize(
    ("override", "differs"),
    [
        ("checkpoints.every=3", False),
        ("divergence.spike=4.0", False),
        ("logging.every=7", False),
        ("train.seed=1", True),
        ("train.shards=8", True),
        ("train.threads=1", True),
        ("train.precision=bfloat16", True),
        ("evaluate.max_loss=3.0", True),
        ("backend=deepspeed", True),
    ],
)
def test_the_seal_holds_what_decides_the_result_and_no_more(override: str, differs: bool) -> None:
    store = Manifest("token-store", {}, {"data": {}}, ())
    plain, other = (
        sealed_configuration(
            load_recipe(TrainingRecipe, recipes() / "smoke.yaml", overrides, Path()).config, store
        )
        for overrides in ([], [override])
    )
    assert (canonical_json(plain) != canonical_json(other)) == differs


@pytest.mark.parametrize(
    "source",
    [
        ["data.source=directory", "data.directory=texts"],
        ["data.source=csv", "data.files.paths=[one.csv]", "data.files.held_out_paths=[two.csv]"],
    ],
    ids=["directory", "files"],
)
def test_where_files_lie_stays_out_of_the_seal(source: list[str], tmp_path: Path) -> None:
    config = load_recipe(TrainingRecipe, recipes() / "smoke.yaml", source, tmp_path).config
    assert str(tmp_path) in to_yaml(config)
    store = Manifest("token-store", {}, {"data": seal_settings(config.data.documents)}, ())
    sealed = canonical_json(sealed_configuration(config, store)).decode()
    assert str(tmp_path) not in sealed
    assert '"max_tokens":64' in sealed
    assert '"lr":0.0003' in sealed


def test_a_token_store_brings_all_but_what_makes_batches_with_it(tmp_path: Path) -> None:
    section = "data={source: token_store, store: tokens, max_tokens: 32}"
    config = load_recipe(TrainingRecipe, recipes() / "smoke.yaml", [section], tmp_path).config
    assert config.data.store == tmp_path / "tokens"
    written = tmp_path / "recipe.yaml"
    written.write_text(to_yaml(config))
    assert "held_out" not in written.read_text(), "the store's own share may be another"
    assert load_recipe(TrainingRecipe, written, [], Path()).config == config
    sealed = sealed_configuration(config, Manifest("token-store", {}, {"data": {"x": 1}}, ()))
    assert sealed["data"] == {"x": 1, "max_tokens": 32, "grouping": None, "pad_to": 16}
    with pytest.raises(ConfigError, match=r"data\.held_out was decided when the store was made"):
        load_recipe(TrainingRecipe, written, ["data.held_out=0.3"], Path())


def test_the_former_name_of_the_guard_against_divergence_is_read() -> None:
    spoken = [
        load_recipe(TrainingRecipe, recipes() / "smoke.yaml", [f"{section}.spike=4.0"], Path())
        for section in ("care", "divergence")
    ]
    assert spoken[0] == spoken[1]


def test_a_process_that_only_starts_others_does_not_load_torch() -> None:
    program = "import sys, retort.train.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_worker_loads_nothing_that_draws() -> None:
    program = "import sys, retort.train.run.worker; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
