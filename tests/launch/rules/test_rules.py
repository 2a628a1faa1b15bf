"""What the rules refuse, each thing in one line with exit code 2, and which of them finds it."""

import copy
import re
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from retort.core.cli import exit_code
from retort.core.errors import UserError
from retort.launch.job import load_job
from retort.launch.manifests import objects, to_yaml
from retort.launch.rules import operators, pods, together
from retort.launch.rules.documents import Document, parse
from retort.launch.rules.schemas import Schemas
from tools.kubernetes.check import main
from tools.python.wheel_programs import wheel_program

CHECKOUT = Path(__file__).resolve().parents[3]
JOB = "PyTorchJob"
Set = dict[str, Any]
"""Objects by kind."""


@cache
def _overlay(name: str) -> str:
    command = [wheel_program("kubectl"), "kustomize", str(CHECKOUT / "k8s/overlays" / name)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


@cache
def _train_job() -> str:
    job = load_job(CHECKOUT / "tests/launch/jobs/full.yaml", ["secrets=[]"], CHECKOUT)
    return to_yaml(
        [
            *objects(job, "v2"),
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": "news"},
                "spec": {
                    "accessModes": ["ReadOnlyMany"],
                    "resources": {"requests": {"storage": "1Gi"}},
                },
            },
        ]
    )


def _set(name: str) -> Set:
    text = _train_job() if name == "v2" else _overlay(name)
    # Of two claims the later.
    return {one["kind"]: one for one in yaml.safe_load_all(text)}


def _checked(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str]]:
    """Exit code of the command and its lines on standard error."""
    try:
        code = main([str(one) for one in arguments])
    except UserError as error:
        return exit_code(error), [f"error: {error}"]
    return code, capsys.readouterr().err.splitlines()


Case = tuple[str, str, str, Any, str, str]
"""As `cases.yaml` has it."""
_PATHS = {
    "box": "spec.pytorchReplicaSpecs.Worker.template.spec.containers.0",
    "node": "spec.template.spec.replicatedJobs.0.template.spec.template.spec",
    "pod": "spec.pytorchReplicaSpecs.Worker.template.spec",
    "worker": "spec.pytorchReplicaSpecs.Worker",
}
_TEXT = (CHECKOUT / "tests/launch/rules/cases.yaml").read_text()
BY_STAGE: dict[str, list[Case]] = {
    stage: [tuple(case) for case in cases]
    for stage, cases in yaml.safe_load(
        re.sub(r"\{(\w+)\}", lambda one: _PATHS[one[1]], _TEXT)
    ).items()
}
CASES = [case for cases in BY_STAGE.values() for case in cases]


def _wrong(case: Case) -> str:
    overlay, kind, path, to, _, _ = case
    found = copy.deepcopy(_set(overlay))
    *outer, last = path.split(".")
    # A key with dots is written with ~ for each.
    value = found[kind]
    for key in outer:
        value = value[int(key)] if isinstance(value, list) else value[key.replace("~", ".")]
    last = last.replace("~", ".")
    if to is None:
        del value[last]
    elif isinstance(value, list):
        value[int(last)] = to
    else:
        value[last] = to
    return yaml.safe_dump_all(found.values())


@pytest.mark.parametrize("case", CASES, ids=[f"{one[1]}-{one[2]}-{one[3]!s:.20}" for one in CASES])
def test_what_is_wrong_is_told_in_one_line(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(_wrong(case))
    there = ["--there", "persistentvolumeclaim/runs"] if case[0] == "v2" else []
    code, lines = _checked(capsys, file, *there)
    assert (code, len(lines)) == (2, 1), lines
    assert lines[0].startswith(f"error: {file}: ")
    assert case[4] in lines[0]
    assert case[5] in lines[0]


def test_there_are_as_many_as_forty() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize("overlay", ["local", "gpu", "metrics", "queue", "v2"])
def test_what_the_cases_change_was_right_before(
    overlay: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump_all(_set(overlay).values()))
    assert _checked(capsys, file, "--there", "persistentvolumeclaim/runs") == (0, [])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a: [", "is not valid YAML"),
        ("apiVersion: v1\nkind: Pod\nkind: Job\n", "a key is given twice: kind"),
        ("? [a]\n: b\n", "is not valid YAML"),
        ("[" * 5000, "is not valid YAML"),
        ("- 1\n", "no object"),
        ("kind: Pod\nmetadata: {name: a}\n", "apiVersion: is missing"),
        ("apiVersion: v1\nkind: 3\nmetadata: {name: a}\n", "kind: is missing"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {generateName: a}\n", "metadata.name: is missing"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [~]}\n",
            "Pod/a: spec.containers.0: is null",
        ),
        ("", "there are no objects"),
    ],
)
def test_what_is_no_manifest_is_told_in_one_line(
    text: str, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "all.yaml").write_text(text)
    code, lines = _checked(capsys, tmp_path / "all.yaml")
    assert (code, len(lines)) == (2, 1), lines
    assert what in lines[0]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["absent.yaml"], "does not exist"),
        (["."], "holds no manifests"),
        ([".", "--there", "runs"], "is not KIND/NAME"),
        ([], "the following arguments are required"),
    ],
)
def test_what_cannot_be_asked_is_told_in_one_line(
    arguments: list[str],
    what: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BUILD_WORKING_DIRECTORY", str(tmp_path))
    code, lines = _checked(capsys, *arguments)
    assert (code, len(lines)) == (2, 1), lines
    assert what in lines[0]


def test_a_kustomization_that_kubectl_cannot_render_is_told_with_its_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [absent.yaml]\n")
    code, lines = _checked(capsys, tmp_path)
    assert (code, len(lines)) == (2, 1), lines
    assert "kubectl cannot render it" in lines[0]
    assert "absent.yaml" in lines[0]


def test_an_object_that_is_there_twice_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one.yaml", "two.yaml"):
        (tmp_path / name).write_text(_overlay("local"))
    code, lines = _checked(capsys, tmp_path)
    assert code == 2
    assert len(lines) == len(_set("local"))
    assert all("two.yaml" in line and "one.yaml, too; remove one" in line for line in lines)


def test_a_master_is_refused_alone_and_beside_workers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "all.yaml"
    found = copy.deepcopy(_set("cpu"))
    specs = found[JOB]["spec"]["pytorchReplicaSpecs"]
    specs["Master"] = copy.deepcopy(specs["Worker"])
    file.write_text(yaml.safe_dump_all(found.values()))
    code, lines = _checked(capsys, file)
    assert (code, len(lines)) == (2, 1), lines
    assert "an init container without a security context" in lines[0]
    specs["Master"]["replicas"] = 2
    file.write_text(yaml.safe_dump_all(found.values()))
    code, lines = _checked(capsys, file)
    assert (code, len(lines)) == (2, 1), lines
    assert "2 masters cannot be; give 1" in lines[0]
    specs["Master"]["replicas"] = 1
    del specs["Worker"]
    file.write_text(yaml.safe_dump_all(found.values()))
    code, lines = _checked(capsys, file)
    assert (code, len(lines)) == (2, 1), lines
    assert "spec.elasticPolicy: is of workers" in lines[0]


def test_a_second_container_of_one_name_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = copy.deepcopy(_set("local"))
    pod = found[JOB]["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]
    pod["containers"].append({**pod["containers"][0]})
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(found.values()))
    code, lines = _checked(capsys, tmp_path)
    assert (code, len(lines)) == (2, 1), lines
    assert f"{_PATHS['pod']}.containers.1.name: pytorch is the name of" in lines[0]


STAGES: dict[str, Callable[[list[Document]], list[object]]] = {
    "schema": lambda found: [one for doc in found for one in Schemas(None).problems(doc)],
    "webhook": lambda found: [one for doc in found for one in operators.problems(doc)],
    "pods": lambda found: [one for doc in found for one in pods.problems(doc)],
    "traps": lambda found: [one for doc in found for one in operators.traps(doc)],
    "together": lambda found: list(together.problems(found, ["persistentvolumeclaim/runs"])),
}


@pytest.mark.parametrize(
    ("stage", "case"),
    [
        ("schema", BY_STAGE["schema"][0]),
        ("webhook", BY_STAGE["webhook"][8]),
        ("together", BY_STAGE["together"][6]),
    ],
)
def test_each_kind_of_rule_finds_what_no_other_does(stage: str, case: Case) -> None:
    documents = list(parse(_wrong(case), "all.yaml").documents)
    found = {name: len(check(documents)) for name, check in STAGES.items()}
    assert found == {name: int(name == stage) for name in STAGES}
