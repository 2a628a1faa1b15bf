"""A run's directory: gone on with if it is ours, and never taken from anybody else."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from retort.core.errors import ConfigError, StorageError
from retort.train.recipe import TrainingRecipe
from retort.train.run.directory import RECIPE, RUN, check_usable, claimed, clear, write_recipe

RECIPE_VALUES: dict[str, Any] = {
    "data": {"source": "bbc_news", "held_out": 0.2, "max_tokens": 64},
    "model": {"weights": {"package": "weights"}},
    "optimizer": {"lr": 0.01},
    "train": {"steps": 12, "batch": 4},
}


def recipe(**sections: dict[str, Any]) -> TrainingRecipe:
    """The recipe, and what some sections say besides."""
    values = {**RECIPE_VALUES}
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return TrainingRecipe.model_validate(values, context={"start": Path("/")})


def begun(run: Path) -> Path:
    """A run that was interrupted."""
    with claimed(run):
        write_recipe(run, recipe())
        (run / "metrics.jsonl").write_text("{}\n")
    return run


def finished(run: Path) -> Path:
    begun(run)
    (run / RUN).write_text("{}")
    return run


def foreign(run: Path) -> Path:
    run.mkdir()
    (run / "thesis.tex").write_text("everything")
    return run


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_directory_is_made_with_those_above_it(tmp_path: Path) -> None:
    with claimed(tmp_path / "a" / "b"):
        write_recipe(tmp_path / "a" / "b", recipe())
    values = yaml.safe_load((tmp_path / "a" / "b" / RECIPE).read_text())
    assert values["train"]["steps"] == 12


def test_an_interrupted_run_and_an_empty_directory_are_gone_on_with(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    for one in (run, tmp_path / "empty"):
        with claimed(one):
            write_recipe(one, recipe())
    assert (run / "metrics.jsonl").read_text() == "{}\n"


def test_a_run_that_was_killed_before_its_recipe_was_whole_is_gone_on_with(tmp_path: Path) -> None:
    with claimed(tmp_path / "run"):
        (tmp_path / "run" / "recipe.partial").write_text("data:\n  sour")
    with claimed(tmp_path / "run"):
        write_recipe(tmp_path / "run", recipe())
    assert sorted(content(tmp_path / "run")) == [".lock", RECIPE]


def test_a_finished_run_is_refused(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    before = content(run)
    with pytest.raises(StorageError) as error, claimed(run):
        pass
    assert str(error.value) == (
        f"{run}: holds a run already; add --overwrite or choose another --out"
    )
    assert content(run) == before


@pytest.mark.parametrize("act", [check_usable, clear], ids=["begin", "clear"])
def test_what_is_no_run_is_refused_and_stays(act: Any, tmp_path: Path) -> None:
    run = foreign(tmp_path / "run")
    with pytest.raises(StorageError, match="holds something else than a run"):
        act(run)
    assert content(run) == {"thesis.tex": b"everything"}

    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="file: is not a directory"):
        act(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("act", [check_usable, clear], ids=["begin", "clear"])
def test_a_link_is_refused_and_what_it_leads_to_stays(act: Any, tmp_path: Path) -> None:
    before = content(begun(tmp_path / "run"))
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with pytest.raises(StorageError, match="link: is not a directory"):
        act(tmp_path / "link")
    assert content(tmp_path / "run") == before


def test_to_clear_a_link_to_a_finished_run_leaves_it_finished(tmp_path: Path) -> None:
    before = content(finished(tmp_path / "run"))
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with pytest.raises(StorageError):
        clear(tmp_path / "link")
    assert content(tmp_path / "run") == before


def test_two_at_once_are_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with claimed(run):
        write_recipe(run, recipe())
        in_use = pytest.raises(StorageError, match="run: another process is training there")
        with in_use, claimed(run):
            pass
        with in_use:
            clear(run)
        assert (run / RECIPE).is_file()
    with claimed(run):
        pass


def test_an_error_ends_the_claim(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), claimed(tmp_path / "run"):
        raise ZeroDivisionError
    with claimed(tmp_path / "run"):
        pass


@pytest.mark.parametrize("make", [begun, finished])
def test_a_run_is_cleared_as_a_whole(make: Any, tmp_path: Path) -> None:
    clear(make(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    clear(tmp_path / "run")


def test_an_unfinished_run_of_another_recipe_is_refused_and_every_key_is_named(
    tmp_path: Path,
) -> None:
    run = begun(tmp_path / "run")
    before = content(run)
    other = recipe(train={"steps": 13, "seed": 5}, optimizer={"lr": 0.02})
    with pytest.raises(ConfigError) as error:
        write_recipe(run, other)
    assert str(error.value) == (
        f"{run}: holds an unfinished run of another recipe: "
        "optimizer.lr was 0.01 and is 0.02; "
        "train.seed was 0 and is 5; "
        "train.steps was 12 and is 13; "
        "choose another --out, or add --overwrite to start anew"
    )
    assert content(run) == before


def test_sections_that_change_no_result_may_change_on_the_way(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    write_recipe(
        run, recipe(checkpoints={"every": 3}, divergence={"spike": 4.0}, logging={"every": 7})
    )
    values = yaml.safe_load((run / RECIPE).read_text())
    assert values["checkpoints"]["every"] == 3, "the recipe in the directory is the last one"


@pytest.mark.parametrize("damaged", ["", "train: [", "train: {steps: 0}", "\x00"])
def test_a_recipe_that_cannot_be_read_is_told(damaged: str, tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    (run / RECIPE).write_text(damaged)
    with pytest.raises(
        ConfigError, match=r"recipe\.yaml: cannot be read as the recipe of this run"
    ):
        write_recipe(run, recipe())
    assert (run / RECIPE).read_text() == damaged


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"), claimed(tmp_path / "file" / "run"):
        pass
