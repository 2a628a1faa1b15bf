"""`job.yaml`: what it may say, what is refused, and the image that a push has printed."""

import json
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from retort.core.cli import exit_code
from retort.core.errors import UserError, one_line
from retort.launch.job import load_job
from retort.launch.units import quantity, seconds

CHECKOUT = Path(__file__).resolve().parents[2]
DIGEST = f"sha256:{'ab' * 32}"
IMAGE = f"registry.example/retort-training@{DIGEST}"
PLAIN = CHECKOUT / "tests/launch/jobs/plain.yaml"


def refusal(path: Path, *overrides: str) -> str:
    """The one line of what is wrong with a job."""
    with pytest.raises(UserError) as caught:
        load_job(path, overrides, path.parent)
    assert exit_code(caught.value) == 2
    assert one_line(str(caught.value)) == str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "key", "remedy"),
    [
        (["name=News"], "name", "small letters"),
        (["name=9lives"], "name", "first a letter"),
        ([f"name={'n' * 53}"], "name", "52 at most"),
        (["image=registry.example/retort-training:1.2"], "image", "sha256:DIGEST"),
        (["image=registry.example/retort-training"], "image", "sha256:DIGEST"),
        (["image=retort-training:latest"], "image", "sha256:DIGEST"),
        ([f"image=registry.example/a:1.2@{DIGEST}"], "image", "sha256:DIGEST"),
        (["image=./pushed.json"], "image", "write to it"),
        (["recipe=smok"], "plain.yaml: recipe: smok", "did you mean smoke"),
        (["recipe=./absent.yaml"], "absent.yaml", "does not exist"),
        (["overrides=[train.step=3]"], "train.step", "did you mean steps"),
        (["overrides=[train.batch=9]"], "train.batch", "choose a number"),
        (["nodes=0"], "nodes", "greater than or equal to 1"),
        (["nodes=2", "processes=2"], "train.shards 2", "start fewer"),
        (["processes=two"], "processes", "integer"),
        (["gpus=3"], "--set gpus=3: the job: gpus 3", "one GPU"),
        (["gpu=1"], "unknown key gpu", "did you mean gpus"),
        (["cpu=lots"], "cpu", "quantity"),
        (["cpu=0"], "cpu", "give more"),
        (["memory=4GB"], "memory", "16Gi"),
        (["memory=512Mi"], "shared_memory 1Gi", "give more memory"),
        (["shared_memory=-64Mi"], "shared_memory", "quantity"),
        (["runs={size: 1Gi}"], "runs.claim", "missing"),
        (["runs.claim=My_Runs"], "runs.claim", "small letters"),
        (["runs.storage_class=fast"], "runs.storage_class", "runs.size"),
        (["runs.access=ReadWriteAll"], "runs.access", "allowed"),
        (
            ["nodes=2", "runs.size=1Gi", "runs.access=ReadWriteOnce"],
            "runs.access ReadWriteOnce",
            "ReadWriteMany",
        ),
        (["data.name=news"], "data.name", "allowed: claim"),
        (["grace=120"], "grace", "string"),
        (["grace=2 minutes"], "grace", "1h30m"),
        (["grace=20s"], "grace 20s", "give 35s or more"),
        (["checkpoint=5m"], "grace 2m", "give 315s or more"),
        (["deadline=0s"], "deadline", "give 1s or more"),
        (["topology=rack"], "topology", "give a queue"),
        (["queue=Gold"], "queue", "small letters"),
        (["spot=true"], "spot", "allowed: aks, gke, karpenter"),
        (["spot=gke"], "grace 2m", "30s"),
        (["secrets=token"], "secrets", "tuple"),
        (["environment={A: 1}"], "environment.A", "string"),
        (["environment={9A: x}"], "environment", "environment variable"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line_that_names_the_key(
    overrides: list[str], key: str, remedy: str
) -> None:
    said = refusal(PLAIN, *overrides)
    assert any(said.startswith(name) for name in ("--set", str(PLAIN))), said
    assert key in said
    assert remedy in said


def test_a_job_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "there is no such file" in refusal(tmp_path / "job.yaml")


@pytest.mark.parametrize("line", [f"pushed {IMAGE} 3 blobs, 10 bytes moved", "json"])
def test_the_image_is_the_one_that_a_push_has_printed(tmp_path: Path, line: str) -> None:
    value = {"image": IMAGE, "tags": ["1.2"], "bytes": 6_000_000_000}
    said = json.dumps(value) if line == "json" else line
    (tmp_path / "pushed.txt").write_text(f"something before\n{said}\n")
    job = load_job(PLAIN, ["image=./pushed.txt"], tmp_path)
    assert job.image == IMAGE
    assert job.image_bytes == (6_000_000_000 if line == "json" else None)


@pytest.mark.parametrize("text", ["", "pushed\n", '{"image": "a:1"}', "[]", "pushed a:1 3 blobs"])
def test_a_file_that_names_no_image_by_digest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "pushed.txt").write_text(text)
    job = tmp_path / "job.yaml"
    values = {**yaml.safe_load(PLAIN.read_text()), "image": "./pushed.txt"}
    job.write_text(yaml.safe_dump(values))
    assert "names no image by digest" in refusal(job)


def test_a_recipe_of_the_image_is_named_and_one_of_a_file_goes_along(tmp_path: Path) -> None:
    assert load_job(PLAIN, [], tmp_path).recipe_file is None
    text = (CHECKOUT / "tests/launch/jobs/recipe.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(text)
    job = load_job(PLAIN, ["recipe=mine.yaml", "overrides=[train.steps=7]"], tmp_path)
    assert job.recipe_file == ("mine.yaml", text)
    assert job.recipe.train.steps == 7


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("500m", "0.5"),
        ("4", "4"),
        ("1.5", "1.5"),
        ("16Gi", str(16 * 2**30)),
        ("3k", "3000"),
        ("1e3", "1000"),
        ("2E", "2000000000000000000"),
        ("5u", "0.000005"),
    ],
)
def test_a_quantity_is_what_kubernetes_takes_it_for(text: str, number: str) -> None:
    assert quantity(text) == Decimal(number)


@given(st.integers(0, 10**5), st.integers(0, 59), st.integers(0, 59))
def test_a_time_is_hours_minutes_and_seconds(hours: int, minutes: int, rest: int) -> None:
    assert seconds(f"{hours}h{minutes}m{rest}s") == hours * 3600 + minutes * 60 + rest
