"""The workflows run the gates and nothing else, in tiers, with least rights, from pinned actions.

Every rule is a function from the files to its findings. The repository must have none, and for each
rule there are altered copies that must have some: a rule that cannot fail holds nothing.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = ".github/workflows/pr.yml"
IMAGES_WORKFLOW = (
    ".github/workflows/images.yml"  # whose jobs push: test_images_workflow.py holds it
)
ACTION = ".github/actions/prepare/action.yml"
RUNNER = "ubuntu-24.04"
TIMEOUT_PER_BUDGET = 4
PREPARATION_MINUTES = 5
TIERS = [{"smoke"}, {"reproducibility"}, {"quality", "build"}]
ON_MAIN = {"github.event_name == 'push'", "github.ref == 'refs/heads/main'"}

Files = Mapping[str, str]
Gates = Mapping[str, float]
Rule = Callable[[Files, Gates], list[str]]


def read_files() -> dict[str, str]:
    """Every YAML file under .github but the workflow of images, by its path from the root."""
    found = sorted((ROOT / ".github").rglob("*.yml")) + sorted((ROOT / ".github").rglob("*.yaml"))
    files = {path.relative_to(ROOT).as_posix(): path.read_text() for path in found}
    return {path: text for path, text in files.items() if path != IMAGES_WORKFLOW}


def list_gates() -> dict[str, float]:
    """The gates of this workflow and their budgets in minutes, as the command tells them.

    Images have a workflow of their own: see test_images_workflow.py.
    """
    gate = [sys.executable, str(ROOT / "tools/ci/gate"), "--list", "--json"]
    listed = subprocess.run(gate, check=True, capture_output=True, text=True).stdout
    budgets = {entry["name"]: entry["budget_minutes"] for entry in json.loads(listed)}
    del budgets["images"]
    return budgets


def workflow(files: Files) -> dict[Any, Any]:
    parsed: dict[Any, Any] = yaml.safe_load(files[WORKFLOW])
    parsed["on"] = parsed.pop(True)  # YAML 1.1 reads the bare key `on` as a boolean
    return parsed


def jobs(files: Files) -> dict[str, dict[str, Any]]:
    return dict(workflow(files)["jobs"])


def steps(files: Files) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each step of the jobs and of our own actions, with the name of where it stands."""
    for name, job in jobs(files).items():
        for step in job.get("steps", []):
            yield f"job {name}", step
    for path, text in files.items():
        if path.startswith(".github/actions/"):
            for step in yaml.safe_load(text)["runs"]["steps"]:
                yield path, step


def gate_of(step: Mapping[str, Any]) -> str | None:
    """The gate that a step calls; None when it is anything but one plain call of one gate."""
    call = re.fullmatch(r"tools/ci/gate ([a-z]+)", str(step.get("run", "")).strip())
    return call.group(1) if call else None


def called(files: Files) -> dict[str, list[str]]:
    """The gates that each job calls."""
    found = {
        name: [gate_of(step) for step in job.get("steps", [])] for name, job in jobs(files).items()
    }
    return {name: [gate for gate in gates if gate] for name, gates in found.items()}


def every_run_is_a_gate(files: Files, gates: Gates) -> list[str]:
    runs = [(where, step) for where, step in steps(files) if "run" in step]
    return [f"{where} runs {step['run']!r}" for where, step in runs if gate_of(step) is None]


def workflow_calls_each_gate_once(files: Files, gates: Gates) -> list[str]:
    calls = sorted(gate for called_gates in called(files).values() for gate in called_gates)
    return (
        []
        if calls == sorted(gates)
        else [f"the workflow calls {calls}, the gates are {sorted(gates)}"]
    )


def jobs_are_named_after_their_gate(files: Files, gates: Gates) -> list[str]:
    return [
        f"job {name} calls {gates_called}"
        for name, gates_called in called(files).items()
        if gates_called != [name] or jobs(files)[name].get("name") != name
    ]


def jobs_stand_in_tiers(files: Files, gates: Gates) -> list[str]:
    needs = {name: job.get("needs", []) for name, job in jobs(files).items()}
    graph = {name: {need} if isinstance(need, str) else set(need) for name, need in needs.items()}
    tiers: list[set[str]] = []
    done: set[str] = set()
    while ready := {name for name in graph if name not in done and graph[name] <= done}:
        tiers.append(ready)
        done |= ready
    return (
        []
        if tiers == TIERS and done == set(graph)
        else [f"the tiers are {tiers}, of jobs {sorted(graph)}"]
    )


def failures_stop_the_run(files: Files, gates: Gates) -> list[str]:
    held = [(f"job {name}", job) for name, job in jobs(files).items()]
    held += [(where, step) for where, step in steps(files) if gate_of(step)]
    return [
        f"{where} has {key}"
        for where, it in held
        for key in ("if", "continue-on-error")
        if key in it
    ]


def triggers_are_the_three(files: Files, gates: Gates) -> list[str]:
    expected = {
        "pull_request": None,
        "merge_group": {"types": ["checks_requested"]},
        "push": {"branches": ["main"]},
    }
    triggers = workflow(files)["on"]
    return [] if triggers == expected else [f"the triggers are {triggers}"]


def superseded_runs_are_cancelled(files: Files, gates: Gates) -> list[str]:
    expected = {
        "group": "${{ github.workflow }}-${{ github.event.pull_request.number || github.run_id }}",
        "cancel-in-progress": "${{ github.event_name == 'pull_request' }}",
    }
    concurrency = workflow(files).get("concurrency")
    return [] if concurrency == expected else [f"the concurrency is {concurrency}"]


def rights_are_least(files: Files, gates: Gates) -> list[str]:
    findings = (
        [] if workflow(files).get("permissions") == {} else ["rights are granted to all jobs"]
    )
    return findings + [
        f"job {name} has the rights {job.get('permissions')}"
        for name, job in jobs(files).items()
        if job.get("permissions") != {"contents": "read"}
    ]


def no_secret_is_read(files: Files, gates: Gates) -> list[str]:
    return [
        path for path, text in files.items() if re.search(r"\bsecrets\b|\bgithub\.token\b", text)
    ]


def actions_are_pinned(files: Files, gates: Gates) -> list[str]:
    """Ours by the commit that runs, others by a full SHA with the version in a comment."""
    pinned = re.compile(r"[\w.-]+/[\w.-]+(/[\w.-]+)*@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    lines = [
        (path, found.group(1).strip())
        for path, text in files.items()
        for found in re.finditer(r"^\s*(?:- )?uses:(.*)$", text, re.MULTILINE)
    ]
    ours = {
        "$/" + Path(path).parent.as_posix() for path in files if path.startswith(".github/actions/")
    }
    findings = [
        f"{path}: {use}" for path, use in lines if use not in ours and not pinned.fullmatch(use)
    ]
    if len(lines) != sum("uses" in step for _, step in steps(files)):
        findings.append("a `uses` is written in a way that this rule does not read")
    return findings


def one_version_of_each_action(files: Files, gates: Gates) -> list[str]:
    versions: dict[str, set[str]] = {}
    for _, step in steps(files):
        action, _, version = step.get("uses", "").partition("@")
        versions.setdefault("/".join(action.split("/")[:2]), set()).add(version)
    return [f"{action}: {sorted(found)}" for action, found in versions.items() if len(found) > 1]


def credentials_are_not_kept(files: Files, gates: Gates) -> list[str]:
    checkouts = [
        (where, step) for where, step in steps(files) if "actions/checkout@" in step.get("uses", "")
    ]
    findings = [
        f"{where} keeps its credentials"
        for where, step in checkouts
        if step.get("with", {}).get("persist-credentials") is not False
    ]
    if len(checkouts) != len(jobs(files)):
        findings.append(f"{len(checkouts)} checkouts in {len(jobs(files))} jobs")
    return findings


def machine_is_named(files: Files, gates: Gates) -> list[str]:
    return [name for name, job in jobs(files).items() if job.get("runs-on") != RUNNER]


def timeouts_follow_the_budgets(files: Files, gates: Gates) -> list[str]:
    """A gate stops what hangs, and says so; its job ends later, by the time to prepare."""
    return [
        f"job {name} ends after {job.get('timeout-minutes')} minutes, the budgets are {gates}"
        for name, job in jobs(files).items()
        if job.get("timeout-minutes")
        != TIMEOUT_PER_BUDGET * gates.get(name, 0) + PREPARATION_MINUTES
    ]


def caches_are_saved_on_main_only(files: Files, gates: Gates) -> list[str]:
    findings = []
    for where, step in steps(files):
        use = step.get("uses", "")
        terms = set(
            str(step.get("if", "")).removeprefix("${{").removesuffix("}}").strip().split(" && ")
        )
        if "actions/cache/save@" in use and (not terms >= ON_MAIN or "||" in step["if"]):
            findings.append(f"{where} saves a cache if {step.get('if')}")
        if "actions/cache@" in use or ("actions/setup-" in use and "cache" in step.get("with", {})):
            findings.append(f"{where} uses {use}, which saves wherever it runs")
    return findings


def caches_saved_are_those_restored(files: Files, gates: Gates) -> list[str]:
    action = yaml.safe_load(files[ACTION])
    offered = {name: output["value"] for name, output in action["outputs"].items()}
    restored = {
        step["id"]: step["with"]["path"] for step in action["runs"]["steps"] if "id" in step
    }
    saved = [
        step["with"] for _, step in steps(files) if "actions/cache/save@" in step.get("uses", "")
    ]
    findings = [
        f"{cache} restores {path!r} and saves {offered.get(f'{cache}-path')!r}"
        for cache, path in restored.items()
        if offered.get(f"{cache}-path") != path
    ]
    expected = [
        {key: f"${{{{ steps.prepare.outputs.{cache}-{key} }}}}" for key in ("path", "key")}
        for cache in restored
    ]
    return findings if saved == expected else [*findings, f"saved are {saved}"]


def what_is_needed_after_a_failure_is_kept(files: Files, gates: Gates) -> list[str]:
    uploads = {
        name: [
            (step["with"]["path"], step["if"])
            for step in job.get("steps", [])
            if "actions/upload-artifact@" in step.get("uses", "")
        ]
        for name, job in jobs(files).items()
    }
    logs = [("bazel-testlogs/**/test.log", "${{ failure() }}")]
    report = [("runs/smoke/report.html", "${{ !cancelled() }}")]
    expected = {"smoke": report, "reproducibility": [], "quality": logs, "build": logs}
    return [] if uploads == expected else [f"uploads are {uploads}"]


RULES: list[Rule] = [
    every_run_is_a_gate,
    workflow_calls_each_gate_once,
    jobs_are_named_after_their_gate,
    jobs_stand_in_tiers,
    failures_stop_the_run,
    triggers_are_the_three,
    superseded_runs_are_cancelled,
    rights_are_least,
    no_secret_is_read,
    actions_are_pinned,
    one_version_of_each_action,
    credentials_are_not_kept,
    machine_is_named,
    timeouts_follow_the_budgets,
    caches_are_saved_on_main_only,
    caches_saved_are_those_restored,
    what_is_needed_after_a_failure_is_kept,
]

CHECKOUT_PIN = re.search(r"actions/checkout@\w+ # v[\d.]+", read_files()[WORKFLOW])
assert CHECKOUT_PIN, f"{WORKFLOW} checks nothing out"
CHECKOUT = CHECKOUT_PIN.group()

# (rule, file, what to replace once, by what)
CONTROLS: list[tuple[Rule, str, str, str]] = [
    (every_run_is_a_gate, WORKFLOW, "run: tools/ci/gate smoke", "run: tools/ci/gate smoke || true"),
    (
        every_run_is_a_gate,
        WORKFLOW,
        "run: tools/ci/gate smoke",
        "run: ./tools/bazel run //train:smoke",
    ),
    (
        every_run_is_a_gate,
        WORKFLOW,
        "run: tools/ci/gate smoke",
        "run: tools/ci/gate ${{ github.ref }}",
    ),
    (
        every_run_is_a_gate,
        ACTION,
        "  steps:\n",
        "  steps:\n    - run: pip install bazelisk\n      shell: bash\n",
    ),
    (workflow_calls_each_gate_once, WORKFLOW, "gate quality", "gate build"),
    (workflow_calls_each_gate_once, WORKFLOW, "gate quality", "gate colour"),
    (jobs_are_named_after_their_gate, WORKFLOW, "name: quality\n", "name: build\n"),
    (jobs_are_named_after_their_gate, WORKFLOW, "gate quality", "gate smoke"),
    (jobs_stand_in_tiers, WORKFLOW, "    needs: smoke\n", ""),
    (jobs_stand_in_tiers, WORKFLOW, "needs: reproducibility", "needs: smoke"),
    (jobs_stand_in_tiers, WORKFLOW, "needs: smoke", "needs: build"),
    (failures_stop_the_run, WORKFLOW, "    needs: smoke\n", "    needs: smoke\n    if: always()\n"),
    (
        failures_stop_the_run,
        WORKFLOW,
        "gate smoke\n",
        "gate smoke\n        continue-on-error: true\n",
    ),
    (triggers_are_the_three, WORKFLOW, "pull_request:", "pull_request_target:"),
    (triggers_are_the_three, WORKFLOW, "branches: [main]", "branches: ['**']"),
    (triggers_are_the_three, WORKFLOW, "  merge_group:\n    types: [checks_requested]\n", ""),
    (superseded_runs_are_cancelled, WORKFLOW, "|| github.run_id", "|| github.ref"),
    (
        superseded_runs_are_cancelled,
        WORKFLOW,
        "${{ github.event_name == 'pull_request' }}",
        "false",
    ),
    (rights_are_least, WORKFLOW, "permissions: {}", "permissions: read-all"),
    (rights_are_least, WORKFLOW, "permissions: {}\n", ""),
    (rights_are_least, WORKFLOW, "contents: read", "contents: write"),
    (
        rights_are_least,
        WORKFLOW,
        "      contents: read",
        "      id-token: write\n      contents: read",
    ),
    (no_secret_is_read, WORKFLOW, "${{ vars.", "${{ secrets."),
    (actions_are_pinned, WORKFLOW, CHECKOUT, "actions/checkout@v7"),
    (actions_are_pinned, WORKFLOW, CHECKOUT, CHECKOUT.partition(" #")[0]),
    (actions_are_pinned, WORKFLOW, CHECKOUT, CHECKOUT.replace("@", "@0")),
    (actions_are_pinned, WORKFLOW, f"uses: {CHECKOUT}", '"uses": actions/checkout@v7'),
    (actions_are_pinned, WORKFLOW, "$/.github/actions/prepare", "./.github/actions/prepare"),
    (actions_are_pinned, WORKFLOW, "$/.github/actions/prepare", "$/.github/actions/absent"),
    (one_version_of_each_action, WORKFLOW, CHECKOUT, f"actions/checkout@{'0' * 40} # v7.0.1"),
    (credentials_are_not_kept, WORKFLOW, "persist-credentials: false", "persist-credentials: true"),
    (
        credentials_are_not_kept,
        WORKFLOW,
        "        with:\n          persist-credentials: false\n",
        "",
    ),
    (credentials_are_not_kept, WORKFLOW, CHECKOUT, CHECKOUT.replace("checkout", "check-out")),
    (machine_is_named, WORKFLOW, "runs-on: ubuntu-24.04", "runs-on: ubuntu-latest"),
    (timeouts_follow_the_budgets, WORKFLOW, "    timeout-minutes: ", "    timeout-minutes: 1"),
    (timeouts_follow_the_budgets, WORKFLOW, "    timeout-minutes: ", "    # timeout-minutes: "),
    (
        caches_are_saved_on_main_only,
        WORKFLOW,
        "github.event_name == 'push' && github.ref",
        "github.ref",
    ),
    (caches_are_saved_on_main_only, WORKFLOW, "github.ref == 'refs/heads/main' && ", ""),
    (
        caches_are_saved_on_main_only,
        WORKFLOW,
        "'refs/heads/main' && steps",
        "'refs/heads/main' || steps",
    ),
    (caches_are_saved_on_main_only, ACTION, "actions/cache/restore@", "actions/cache@"),
    (caches_are_saved_on_main_only, ACTION, '"3.11"\n', '"3.11"\n        cache: pip\n'),
    (caches_saved_are_those_restored, ACTION, "~/.cache/retort\n", "~/.cache\n"),
    (caches_saved_are_those_restored, WORKFLOW, "outputs.downloads-key", "outputs.downloads-path"),
    (what_is_needed_after_a_failure_is_kept, WORKFLOW, "${{ failure() }}", "${{ cancelled() }}"),
    (
        what_is_needed_after_a_failure_is_kept,
        WORKFLOW,
        "runs/smoke/report.html",
        "runs/report.html",
    ),
]


@pytest.fixture(scope="module")
def gates() -> dict[str, float]:
    return list_gates()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_workflows_hold_the_rule(rule: Rule, gates: Gates) -> None:
    assert rule(read_files(), gates) == []


@pytest.mark.parametrize(
    ("rule", "path", "old", "new"),
    CONTROLS,
    ids=[f"{control[0].__name__}-{n}" for n, control in enumerate(CONTROLS)],
)
def test_an_altered_copy_breaks_the_rule(
    rule: Rule, path: str, old: str, new: str, gates: Gates
) -> None:
    files = read_files()
    assert old in files[path], f"nothing to alter in {path}"
    altered = {**files, path: files[path].replace(old, new, 1)}
    assert rule(altered, gates) != []


def test_every_rule_has_a_control() -> None:
    assert {control[0] for control in CONTROLS} == set(RULES)


def test_a_gate_that_the_workflow_does_not_know_is_found(gates: Gates) -> None:
    assert workflow_calls_each_gate_once(read_files(), {**gates, "images": 5}) != []


def test_a_changed_budget_is_found(gates: Gates) -> None:
    assert timeouts_follow_the_budgets(read_files(), {**gates, "smoke": gates["smoke"] + 1}) != []


def test_no_other_workflow_escapes_the_rules() -> None:
    workflows = {path.name for path in (ROOT / ".github/workflows").iterdir()}
    assert workflows == {Path(WORKFLOW).name, Path(IMAGES_WORKFLOW).name}
