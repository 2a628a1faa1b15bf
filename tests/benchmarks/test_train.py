"""The comparison of training: what it computes from times, and that the other sides really train."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.markdown import Section
from benchmarks.page import Page
from benchmarks.train import pictures as train_pictures
from benchmarks.train import result as train_result
from benchmarks.train.comparison import Comparison, Side, compare, module_side
from benchmarks.train.gains import ALL, WAYS, compare_ways, open_way
from benchmarks.train.ours import read, recipe
from benchmarks.train.parts import (
    ACCUMULATED,
    CONTRACT,
    CONTRACT_BF16,
    DDP,
    GROUPED,
    GROUPED_BF16,
    NANO,
    NANO_BF16,
    TRAINER,
    WHOLE,
)
from benchmarks.train.workload import Measured, Workload
from retort.core.config import load_recipe
from retort.core.forks.client import run
from retort.data.store.store import TokenStore
from retort.train.processes.world import World
from retort.train.recipe import TrainingRecipe
from tests.processes.forks import fork_server_for
from tests.tiny.inputs import write_weights
from tests.tiny.store import documents, write_tiny_store
from tests.tiny.tasks import of_language_model

STEPS = 3
server = fork_server_for(
    "benchmarks.train.ddp",
    "benchmarks.train.nano",
    "benchmarks.train.plain",
    "benchmarks.train.trainer",
)


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    """A tiny fine-tune of four logical shards."""
    root = tmp_path_factory.mktemp("workload")
    weights = write_weights(root / "weights")
    tokenizer = (weights / "tokenizer.json").read_bytes()
    write_tiny_store(root / "tokens", documents(120), tokenizer=tokenizer)
    return Workload(
        store=root / "tokens",
        weights=weights,
        steps=STEPS,
        batch=8,
        shards=4,
        max_tokens=16,
        lr=1e-3,
        threads=1,
        pad_to=4,
    )


def side(seconds: float, **facts: object) -> Measured:
    """A run whose first step is slow and does not count."""
    return Measured(**{"seconds": [9.0, seconds, seconds], "samples": 4, **facts})  # type: ignore[arg-type]


def forked(module: str, workload: Workload, *arguments: object) -> Measured:
    """What `module_side` runs anew."""
    done = run([module, *map(str, arguments), workload.model_dump_json()])
    assert done.returncode == 0, done.stderr
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def comparison(**sides: list[float]) -> Comparison:
    runs = {name: [side(seconds) for seconds in times] for name, times in sides.items()}
    return Comparison(runs, warm_up=1)


def test_ratios_are_taken_round_by_round() -> None:
    found = comparison(ours=[1.0, 2.0, 30.0], theirs=[2.0, 4.0, 30.0])
    assert found.rates("ours") == [4.0, 2.0, 4 / 30]
    assert found.rate("ours") == 2.0
    assert found.times_as_fast("ours", "theirs") == 2.0
    assert found.cost("theirs", "ours") == pytest.approx(1.0)


def test_every_second_round_is_in_the_opposite_order() -> None:
    order = []

    def named(name: str) -> Side:
        def run() -> Measured:
            order.append(name)
            return side(1.0)

        return run

    found = compare({name: named(name) for name in "abc"}, rounds=3, warm_up=1, what="test")
    assert "".join(order) == "abccbaabc"
    assert {name: len(runs) for name, runs in found.runs.items()} == {"a": 3, "b": 3, "c": 3}


def test_plain_loops_and_ddp_train_on_the_same_documents(workload: Workload) -> None:
    plain = module_side("benchmarks.train.plain", workload)()
    whole = forked("benchmarks.train.plain", workload, "--whole")
    ddp = [forked("benchmarks.train.ddp", workload, "--world-size", size) for size in (1, 2)]
    for measured in (plain, whole, *ddp):
        assert len(measured.seconds) == STEPS
        assert measured.samples == 8
    reader = workload.reader(TokenStore.open(workload.store))
    assert plain.tokens == [reader.tokens(step) for step in range(STEPS)]
    assert plain.digest == ddp[0].digest, "one rank adds up as the plain loop does"
    assert len({plain.digest, whole.digest, ddp[1].digest}) == 3


def test_the_trainer_trains_and_is_evaluated(workload: Workload) -> None:
    digests = set()
    for arguments in ((), ("--group-by-length",)):
        measured = forked("benchmarks.train.trainer", workload, *arguments)
        assert len(measured.seconds) == STEPS
        assert measured.accuracy is not None
        assert 0 <= measured.accuracy <= 1
        digests.add(measured.digest)
    assert len(digests) == 2


def test_a_workload_is_a_recipe_of_ours(workload: Workload, tmp_path: Path) -> None:
    file = tmp_path / "benchmark.yaml"
    file.write_text(json.dumps(recipe(workload)))
    config = load_recipe(TrainingRecipe, file, [], tmp_path).config
    assert config.data.store == workload.store
    assert (config.train.batch, config.train.shards) == (workload.batch, workload.shards)
    assert (config.data.grouping, config.data.pad_to) == ("balanced", 4)
    assert config.logging.every == 1


def test_what_a_run_directory_tells_is_read(workload: Workload, tmp_path: Path) -> None:
    shares = {"data": 0.1, "compute": 0.5, "communication": 0.1, "checkpoint": 0.2}
    timing = {
        "steps": 1,
        "samples_per_second": 1.0,
        "tokens_per_second": 1.0,
        "mfu": 0.1,
        "memory_bytes": 1,
        "device_memory_bytes": 0,
        "shares": {**shares, "evaluation": 0.1, "other": 0.0},
    }
    timings = [{**timing, "step": step, "seconds": step / 2} for step in (1, 2)]
    (tmp_path / "timings.jsonl").write_text("".join(json.dumps(one) + "\n" for one in timings))
    (tmp_path / "metrics.jsonl").write_text('{"tokens": 7}\n{"tokens": 8}\n')
    found = read(workload, tmp_path, {"seal": "sha256:1", "metrics": {"accuracy": 0.5}})
    assert (found.seconds, found.tokens, found.samples) == ([0.45, 0.9], [7, 8], 8)
    assert (found.accuracy, found.digest) == (0.5, "sha256:1")
    assert found.shares["checkpoint"] == pytest.approx(0.2)
    assert found.tokens_a_second(1) == pytest.approx(8 / 0.9)


def test_every_way_of_a_step_is_taken_in_turn(workload: Workload) -> None:
    found = compare_ways(workload, 2)
    assert list(found.runs) == list(WAYS)
    assert {len(runs) for runs in found.runs.values()} == {STEPS}
    assert found.rate(ALL) > 0
    texts = train_result.gains({"tiny": found}).text
    assert all(f"| {way} |" in texts for way in WAYS)


def test_ways_are_what_they_say(workload: Workload, tmp_path: Path) -> None:
    """Equal weights after a step by every way of portable arithmetic, others in another order or by PyTorch."""
    world, found = World(0, 1, 0, torch.device("cpu")), {}
    for name, way in WAYS.items():
        engine, _ = open_way(way, workload, world, tmp_path)
        with way.taken():
            engine.step(0, 1e-2)
        weights = (one.detach().numpy().tobytes() for one in engine.model.parameters())
        found[name] = b"".join(weights)
    others = {
        found.pop("shards in the order of the epoch"),
        found.pop("padded, by PyTorch's kernels"),
    }
    assert len(set(found.values())) == 1
    assert len({*others, found[ALL]}) == 3


def test_a_plain_loop_trains_a_language_model(tmp_path: Path) -> None:
    recipe = of_language_model(tmp_path)
    done = run(
        ["benchmarks.train.nano", "--set", "train.steps=3", str(recipe), str(tmp_path / "run")]
    )
    assert done.returncode == 0, done.stderr
    measured = Measured(**json.loads(done.stdout.splitlines()[-1]))
    assert (len(measured.seconds), measured.samples) == (3, 12)


def test_targets_are_reached_or_not() -> None:
    good = comparison(**{CONTRACT: [1.0], DDP: [1.0], ACCUMULATED: [1.0], WHOLE: [1.0]})
    bad = comparison(**{CONTRACT: [1.1], DDP: [1.0], ACCUMULATED: [1.0], WHOLE: [1.0]})
    for section in (train_result.ddp, train_result.plain):
        assert [one.reached for one in section(good).targets] == [True]
        assert [one.reached for one in section(bad).targets] == [False]
    for ours, theirs, reached in (
        ("11", "12", [True, True]),
        ("12", "12", [False, True]),
        ("11", "11", [True, False]),
    ):
        digests = {CONTRACT: dict(enumerate(ours)), DDP: dict(enumerate(theirs))}
        assert [one.reached for one in train_result.control(digests).targets] == reached


def test_a_fine_tune_is_held_to_speed_accuracy_and_waiting() -> None:
    def targets(seconds: float, accuracy: float, share: float) -> list[bool]:
        shares = {"checkpoint": share, "data": share}
        runs = {
            TRAINER: [side(3.0, accuracy=0.95)],
            GROUPED: [side(2.0, accuracy=0.95)],
            GROUPED_BF16: [side(1.5)],
            CONTRACT: [side(1.3)],
            CONTRACT_BF16: [side(seconds, accuracy=accuracy, shares=shares)],
        }
        section = train_result.trainer("reviews", Comparison(runs, 1), 1000)
        return [one.reached for one in section.targets]

    assert targets(1.0, 0.94, 0.001) == [True, True, True, True, True]
    assert targets(1.1, 0.93, 0.007) == [False, True, False, False, True]


def test_a_language_model_is_held_to_the_loop_of_its_own_precision() -> None:
    sides = {CONTRACT: [1.0], CONTRACT_BF16: [1.0], NANO: [0.5], NANO_BF16: [1.4]}
    (target,) = train_result.language(comparison(**sides)).targets
    assert (target.reached, target.measured) == (True, "1.40 times")


def test_the_result_is_text_and_a_picture(tmp_path: Path) -> None:
    found = comparison(**{CONTRACT: [1.0, 2.0], DDP: [1.5, 2.5]})
    page = Page("train", str(tmp_path))
    missed = page.write("Training", [train_result.ddp(found)], train_result.LIBRARIES, [])
    assert missed == []
    (file,) = tmp_path.glob("train-*.md")
    text = file.read_text(encoding="utf-8")
    assert f"| {CONTRACT} | 3.00 (2.00 to 4.00) | 1.38 |" in text
    picture = page.picture("train")
    train_pictures.write_speeds({"one": found, "two": found}, picture)
    assert ET.parse(picture).getroot().tag.endswith("svg")


def test_what_was_measured_outlives_what_could_not_be(tmp_path: Path) -> None:
    def sections() -> Iterator[Section]:
        yield train_result.ddp(comparison(**{CONTRACT: [1.0, 2.0], DDP: [1.5, 2.5]}))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Page("train", str(tmp_path)).write("Training", sections(), train_result.LIBRARIES, [])
    (file,) = tmp_path.glob("train-*.md")
    assert f"| {CONTRACT} | 3.00" in file.read_text(encoding="utf-8")
