"""`//launch:render` and `//launch:check` as processes, one's output the other's input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
JOB = CHECKOUT / "tests/launch/jobs/plain.yaml"
RUNS = ("--there", "persistentvolumeclaim/runs")


def _run(module: str, *arguments: object, text: str = "") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", module, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    return subprocess.run(
        command,
        cwd=CHECKOUT,
        env=environment,
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("operator", ["v1", "v2"])
def test_what_is_rendered_is_checked_from_standard_input(operator: str) -> None:
    rendered = _run("retort.launch.render", JOB, "--operator", operator)
    golden = CHECKOUT / f"tests/launch/golden/plain.{operator}.yaml"
    assert (rendered.returncode, rendered.stderr) == (0, "")
    assert rendered.stdout == golden.read_text()
    checked = _run("tools.kubernetes.check", "-", *RUNS, text=rendered.stdout)
    assert (checked.returncode, checked.stderr) == (0, "")
    count = golden.read_text().count("---\n")
    assert checked.stdout == f"checked {count} objects in 1 sets\n"


def test_a_job_that_cannot_be_prints_one_line_and_no_object() -> None:
    done = _run("retort.launch.render", JOB, "--set", "nodes=0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --set nodes=0: nodes cannot be 0")
    assert done.stderr.count("\n") == 1


def test_a_manifest_that_cannot_be_ends_with_two() -> None:
    wrong = _run("retort.launch.render", JOB).stdout.replace("ExitCode", "Never")
    done = _run("tools.kubernetes.check", "-", *RUNS, text=wrong)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: standard input: PyTorchJob/smoke: ")
    assert done.stderr.count("\n") == 1


def test_programs_read_both_as_json() -> None:
    rendered = _run("retort.launch.render", JOB, "--json")
    assert rendered.returncode == 0
    listed = json.loads(rendered.stdout)
    golden = (CHECKOUT / "tests/launch/golden/plain.v1.yaml").read_text()
    assert (listed["kind"], listed["items"]) == ("List", list(yaml.safe_load_all(golden)))
    checked = _run("tools.kubernetes.check", "-", "--json", *RUNS, text=rendered.stdout)
    assert (checked.returncode, checked.stderr) == (0, "")
    said = json.loads(checked.stdout)
    assert (said["objects"], said["findings"]) == (len(listed["items"]), [])
    wrong = rendered.stdout.replace("ExitCode", "Never")
    checked = _run("tools.kubernetes.check", "-", "--json", *RUNS, text=wrong)
    assert (checked.returncode, checked.stderr) == (2, "")
    (finding,) = json.loads(checked.stdout)["findings"]
    assert finding.keys() == {"file", "at", "what"}
    assert "restartPolicy" in finding["at"]
