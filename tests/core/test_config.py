"""Configuration: what is wrong is named, with what would be right and where it was written."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from retort.core.config import (
    Frozen,
    LocalPath,
    find_recipe,
    for_seal,
    load_recipe,
    read_values,
    recipe_names,
    to_yaml,
)
from retort.core.errors import ConfigError, shown


class Optimizer(Frozen):
    lr: float = Field(gt=0.0)
    name: Literal["adamw", "sgd"] = "adamw"
    betas: Annotated[tuple[float, float], Field(strict=False)] = (0.9, 0.999)


class Settings(Frozen):
    former_keys = {"pace": "optimizer", "tag": "label"}  # noqa: RUF012

    optimizer: Optimizer
    steps: int = 10
    directory: LocalPath | None = None
    label: str = "x"
    inner: Optimizer | None = None


RECIPE = "optimizer:\n  lr: 3e-4\n"


def load(tmp_path: Path, text: str = RECIPE, *overrides: str) -> Settings:
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    return load_recipe(Settings, file, overrides, Path("/start")).config


def test_a_recipe_is_read_and_its_name_is_its_files(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(RECIPE)
    recipe = load_recipe(Settings, tmp_path / "mine.yaml", [], tmp_path)
    assert recipe.name == "mine"
    assert recipe.config == Settings(optimizer=Optimizer(lr=3e-4))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optimizer.lr=3e-5", {"optimizer": {"lr": 3e-5}}),
        ("optimizer.lr=1", {"optimizer": {"lr": 1.0}}),
        ("optimizer.betas=[0.8, 0.9]", {"optimizer": {"betas": (0.8, 0.9)}}),
        ("steps=7", {"steps": 7}),
        ("label=no", {"label": "no"}),
        ("label='7'", {"label": "7"}),
        ("label=a=b", {"label": "a=b"}),
        ("directory=some/where", {"directory": Path("/start/some/where")}),
        ("directory=/some/where", {"directory": Path("/some/where")}),
        ("inner.lr=2.0", {"inner": {"lr": 2.0}}),
    ],
)
def test_an_override_has_the_type_that_yaml_gives_it(
    tmp_path: Path, override: str, expected: dict[str, Any]
) -> None:
    values = load(tmp_path, RECIPE, override).model_dump()
    for key, value in expected.items():
        if isinstance(value, dict):
            assert value.items() <= values[key].items()
        else:
            assert values[key] == value


def test_the_last_override_of_a_key_counts(tmp_path: Path) -> None:
    assert load(tmp_path, RECIPE, "steps=1", "steps=2").steps == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimzer: {lr: 1.0}", "unknown key optimzer; did you mean optimizer? allowed: direc"),
        (
            "optimizer: {lr: 1.0, lrr: 2}",
            "optimizer.lrr; did you mean lr? allowed: betas, lr, name",
        ),
        ("optimizer: {lr: 1.0}\ninner: {lr: 1.0, zzz: 2}", "inner.zzz; allowed: betas, lr, name"),
        ("optimizer: {lr: 1.0, name: adam}", "optimizer.name cannot be 'adam'; did you mean adamw"),
        ("optimizer: {lr: 1.0, name: zzz}", "optimizer.name cannot be 'zzz'; allowed: adamw, sgd"),
        ("steps: 3", "mine.yaml: key optimizer is missing"),
        ("optimizer: {lr: -1.0}", "optimizer.lr cannot be -1.0: input should be greater than 0"),
        ("optimizer: {lr: .nan}", "optimizer.lr cannot be '.nan'"),
        ("optimizer: {lr: 1.0}\nsteps: '3'", "steps cannot be '3'"),
        ("optimizer: {lr: 1.0}\nsteps: true", "steps cannot be True"),
        ("optimizer: {lr: 1.0}\nsteps: 1\nsteps: 2", "a key is given twice"),
        ("optimizer: [", "is not valid YAML"),
        ("- a\n- b", "a recipe is a mapping"),
        ("", "a recipe is a mapping"),
        ("optimizer: !!python/object/apply:os.getcwd []", "is not valid YAML: tags are not read"),
        ("steps: !!int foo", "is not valid YAML: tags are not read: tag:yaml.org,2002:int"),
        ("steps: !!float x", "is not valid YAML: tags are not read"),
        ("steps: !!bool foo", "is not valid YAML: tags are not read"),
        ("steps: !!timestamp foo", "is not valid YAML: tags are not read"),
        ("steps: !!binary foo", "is not valid YAML: tags are not read"),
        ("steps: !!set {a}", "is not valid YAML: tags are not read"),
        ("steps: &a 5\noptimizer: *a", "is not valid YAML: anchors and aliases are not read: a"),
        ("optimizer: {<<: {lr: 1.0}}", "unknown key optimizer.<<; allowed: betas, lr, name"),
        ("steps: " + "9" * 5000, "a whole number is not within 64 bits: 999"),
        ("steps: 9223372036854775808", "a whole number is not within 64 bits: 9223372036854775808"),
        ("optimizer: {lr: 1e999}", "a number is too large: 1e999"),
        ("optimizer: " + "[" * 5000, "there are more than 32 levels"),
        ("optimizer: " + "{a: " * 5000, "there are more than 32 levels"),
        ("? [a]\n: 5", "a key is not text"),
        ('label: "\\ud800"', "half a surrogate pair is not text"),
        ('label: "\\U00110000"', "is not valid YAML"),
        ("label: a\0b", "is not valid YAML"),
        (
            "optimizer: {lr: 1.0}\ndirectory: ~nosuchuser/x",
            "directory: ~nosuchuser/x: there is no such user",
        ),
        ("optimizer: " + "x" * 10_000, " …"),
        ("x" * 200_000, "is too long: more than 131072 bytes"),
    ],
)
def test_a_wrong_recipe_is_refused_by_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    assert message in str(error.value)
    assert str(tmp_path / "mine.yaml") in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1500


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lrr=1", "unknown key optimizer.lrr; did you mean lr?"),
        ("steps=many", "steps cannot be 'many'"),
        ("optimizer=5", "optimizer cannot be 5"),
        ("steps.more=5", "steps has no keys of its own"),
        ("steps", "write it as key=value"),
        ("=5", "write it as key=value"),
        ("optimizer..lr=5", "write it as key=value"),
        ("steps=[", "is not valid YAML"),
        (".".join("a" * 5000) + "=5", "has 5000 levels, and 32 are possible"),
    ],
)
def test_a_wrong_override_is_refused_as_it_was_typed(
    tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, "steps: 1\n" + RECIPE, override)
    assert message in str(error.value)
    assert str(error.value).startswith(f"--set {shown(override)}: ")


def test_a_recipe_is_found_by_name_or_by_path(tmp_path: Path) -> None:
    (tmp_path / "smoke.yaml").write_text(RECIPE)
    assert recipe_names(tmp_path) == ["smoke"]
    assert find_recipe(tmp_path, "smoke", Path("/elsewhere")) == tmp_path / "smoke.yaml"
    assert find_recipe(tmp_path, "./a.yaml", Path("/here")) == Path("/here/a.yaml")
    assert find_recipe(tmp_path, "a.yml", Path("/here")) == Path("/here/a.yml")
    with pytest.raises(ConfigError, match=r"--config ~nosuchuser/x\.yaml: there is no such user"):
        find_recipe(tmp_path, "~nosuchuser/x.yaml", tmp_path)
    with pytest.raises(ConfigError, match=r"--config smoek: no such recipe; did you mean smoke\?"):
        find_recipe(tmp_path, "smoek", tmp_path)


def test_a_recipe_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    os.mkfifo(tmp_path / "pipe.yaml")
    for file in (*(tmp_path / name for name in ("missing.yaml", "binary.yaml", ".", "pipe.yaml")),):
        with pytest.raises(ConfigError, match=str(file)):
            load_recipe(Settings, file, [], tmp_path)
    with pytest.raises(
        ConfigError, match="/dev/zero: cannot be read as a recipe: it is not a regul"
    ):
        load_recipe(Settings, Path("/dev/zero"), [], tmp_path)


def test_a_recipe_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert load(tmp_path, "\ufeff" + RECIPE) == load(tmp_path, RECIPE)


def test_a_key_is_the_text_that_is_written(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("{0: a, 1.50: b, true: c, ~: d, no: e}")
    assert read_values(file) == {"0": "a", "1.50": "b", "true": "c", "~": "d", "no": "e"}


def test_a_former_key_is_read_with_a_notice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = load(tmp_path, "optimizer: {lr: 1.0}\nlabel: a\n")
    assert caplog.messages == []
    assert load(tmp_path, "pace: {lr: 1.0}\ntag: a\n") == now
    assert [text.split(": ")[1].split(";")[0] for text in sorted(caplog.messages)] == [
        "pace is called optimizer now",
        "tag is called label now",
    ]
    caplog.clear()
    assert load(tmp_path, RECIPE, "pace.lr=1.0", "tag=a") == now
    assert caplog.messages[0].startswith("--set pace.lr=1.0: pace is called optimizer now")


def test_a_key_and_its_former_spelling_are_not_both_taken(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has label and its former spelling tag; remove tag"):
        load(tmp_path, RECIPE + "label: a\ntag: b\n")


@settings(deadline=None)
@example(lr=1.0, label="0e0", steps=1)
@example(lr=1.0, label="1_000", steps=1)
@example(lr=1.0, label="on", steps=1)
@given(
    lr=st.floats(min_value=1e-12, max_value=1e6),
    label=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])),
    steps=st.integers(-(2**63), 2**63 - 1),
)
def test_the_printed_configuration_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory, lr: float, label: str, steps: int
) -> None:
    settings = Settings(optimizer=Optimizer(lr=lr), label=label, steps=steps)
    assert load(tmp_path_factory.mktemp("config"), to_yaml(settings)) == settings


def test_local_paths_stay_out_of_the_sealed_configuration() -> None:
    settings = Settings(optimizer=Optimizer(lr=1.0), directory=Path("/home/me"))
    sealed = for_seal(settings)
    assert "directory" not in sealed
    assert sealed["optimizer"] == {"lr": 1.0, "name": "adamw", "betas": [0.9, 0.999]}
    assert "/home/me" in yaml.safe_dump(yaml.safe_load(to_yaml(settings)))


def test_a_configuration_cannot_change() -> None:
    settings = Settings(optimizer=Optimizer(lr=1.0))
    with pytest.raises(ValidationError, match="frozen"):
        settings.optimizer.lr = 2.0  # type: ignore[misc]
