"""The observers of a run: which there are, and that none is left open."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from retort.core.config import load_recipe
from retort.core.errors import ConfigError, DataError
from retort.train.observe.observer import Observer, Observers
from retort.train.observe.open import METRICS, TENSORBOARD, TIMINGS, open_observers
from retort.train.observe.step import Step
from retort.train.recipe import LoggingConfig


def step(number: int) -> Step:
    return Step(number, 1 / number, (1 / number,), 2e-5, 2.0, samples=8, tokens=80)


def test_a_run_has_metrics_timings_and_tensorboard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for done, until in ((0, 3), (2, 4)):
        observers = open_observers(
            LoggingConfig(), tmp_path, total=4, done=done, name="tiny", recipe={}
        )
        for number in range(done + 1, until + 1):
            observers.step(step(number))
        observers.sync()
        observers.close()
    assert {path.name for path in tmp_path.iterdir()} == {METRICS, TIMINGS, TENSORBOARD}
    assert len(list((tmp_path / TENSORBOARD).iterdir())) == 2
    lines = (tmp_path / METRICS).read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]
    assert "step 4/4" in capsys.readouterr().err


def test_tensorboard_can_be_left_out(tmp_path: Path) -> None:
    config = LoggingConfig(tensorboard=False)
    open_observers(config, tmp_path, total=4, done=0, name="tiny", recipe={}).close()
    assert not (tmp_path / TENSORBOARD).exists()


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    file = tmp_path / "logging.yaml"
    file.write_text("wandb_mode: ofline\n")
    with pytest.raises(ConfigError, match="wandb_mode cannot be 'ofline'; did you mean offline"):
        load_recipe(LoggingConfig, file, [], tmp_path)


def test_a_run_that_cannot_be_resumed_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds 0 of the 5 steps"):
        open_observers(LoggingConfig(), tmp_path, total=9, done=5, name="tiny", recipe={})
    assert not (tmp_path / TENSORBOARD).exists()


def test_what_is_not_wanted_is_not_even_imported(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from retort.train.recipe import LoggingConfig\n"
        "from retort.train.observe.open import open_observers\n"
        "config = LoggingConfig(tensorboard=False)\n"
        "open_observers(config, Path(sys.argv[1]), total=1, done=0, name='', recipe={}).close()\n"
        "print(sorted({'tensorboard', 'wandb'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_all_observers_are_closed_although_one_of_them_fails() -> None:
    closed: list[str] = []

    class Closing(Observer):
        def __init__(self, name: str, fails: bool = False) -> None:
            self.name = name
            self.fails = fails

        def close(self) -> None:
            closed.append(self.name)
            if self.fails:
                raise OSError(self.name)

    observers = Observers([Closing("a"), Closing("b", fails=True), Closing("c")])
    with pytest.raises(OSError, match="b"):
        observers.close()
    assert closed == ["a", "b", "c"]
