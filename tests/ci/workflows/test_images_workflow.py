"""The workflow of images: a pull request cannot write, what scans cannot push, what pushes builds nothing.

As in test_workflows.py, which holds what is true of all workflows, a rule is a function from the file to its findings,
and altered copies break each.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
PATH = ROOT / ".github/workflows/images.yml"
ON_MAIN = "${{ github.event_name == 'push' && github.ref == 'refs/heads/main' }}"
PUBLISHED = "${{ github.event_name == 'push' && (github.ref == 'refs/heads/main' || github.ref_type == 'tag') }}"
WITH_A_SCANNER = "${{ vars.SCANNER_IMAGE != '' }}"
RIGHTS = {
    "build": {"contents": "read"},
    "scan": {"contents": "read"},
    "push": {
        "contents": "read",
        "packages": "write",
        "id-token": "write",
        "attestations": "write",
    },
}
CALLS = {
    "build": [
        "python3 tools/ci/workflows/disk_space.py",
        "tools/ci/gate images",
        "python3 tools/ci/workflows/images.py label",
        "python3 tools/ci/workflows/disk_space.py",
        "./tools/bazel run //tools/ci/workflows:image_reports",
    ],
    "scan": ["python3 tools/ci/workflows/images.py scan"],
    "push": ["python3 tools/ci/workflows/images.py push"],
}

# What a command may be handed, between quotes.
_VARIABLES = r"\$\{(GITHUB_SHA|VERSION#v|TAG)\}|\$\{GITHUB_SERVER_URL\}/\$\{GITHUB_REPOSITORY\}"

Rule = Callable[[str], list[str]]


def workflow(text: str) -> dict[Any, Any]:
    parsed: dict[Any, Any] = yaml.safe_load(text)
    parsed["on"] = parsed.pop(True)  # YAML 1.1 reads the bare key `on` as a boolean
    return parsed


def jobs(text: str) -> dict[str, dict[str, Any]]:
    return dict(workflow(text)["jobs"])


def steps(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, job in jobs(text).items():
        for step in job["steps"]:
            yield name, step


def runs_for_pull_requests(job: dict[str, Any]) -> bool:
    return job.get("if") != PUBLISHED


def nothing_writes_for_a_pull_request(text: str) -> list[str]:
    return [
        f"job {name} has {right}: {value} and may run for a pull request"
        for name, job in jobs(text).items()
        if runs_for_pull_requests(job)
        for right, value in _rights(job).items()
        if value != "read"
    ]


def _rights(job: dict[str, Any]) -> dict[str, str]:
    rights = job.get("permissions", "inherited")
    return rights if isinstance(rights, dict) else {"all": str(rights)}


def rights_are_least(text: str) -> list[str]:
    found = [] if workflow(text).get("permissions") == {} else ["rights are granted to all jobs"]
    rights = {name: job.get("permissions") for name, job in jobs(text).items()}
    return found if rights == RIGHTS else [*found, f"the rights are {rights}"]


def nothing_is_pushed_unscanned(text: str) -> list[str]:
    needs = {name: job.get("needs") for name, job in jobs(text).items()}
    expected = {"build": None, "scan": "build", "push": ["build", "scan"]}
    return [] if needs == expected else [f"the jobs need {needs}"]


def each_job_calls_its_steps_alone(text: str) -> list[str]:
    found = []
    for name, job in jobs(text).items():
        runs = [step["run"].strip() for step in job["steps"] if "run" in step]
        known = CALLS.get(name, [])
        if len(runs) != len(known):
            found.append(f"job {name} runs {runs}")
        for run, call in zip(runs, known, strict=False):
            if not re.fullmatch(rf"{re.escape(call)}( [\w./-]+| \"({_VARIABLES})\")*", run):
                found.append(f"job {name} runs {run!r}")
    return found


def no_failure_is_passed_over(text: str) -> list[str]:
    held = [(name, job) for name, job in jobs(text).items()]
    held += [(name, step) for name, step in steps(text) if "run" in step]
    found = [f"{name} has continue-on-error" for name, it in held if "continue-on-error" in it]
    may = {"Label": "${{ github.event_name == 'push' }}", "Measure the room": "${{ !cancelled() }}"}
    found += [
        f"the step {it['name']} of {name} runs if {it['if']}"
        for name, it in held
        if "run" in it and "if" in it and it["if"] != may.get(it["name"])
    ]
    return found + [
        f"job {name} runs if {job['if']}"
        for name, job in jobs(text).items()
        if "if" in job and job["if"] != PUBLISHED
    ]


def the_token_is_for_the_push_alone(text: str) -> list[str]:
    read = [
        name
        for name, job in jobs(text).items()
        if re.search(r"\bsecrets\b|\bgithub\.token\b", str(job))
    ]
    found = [] if read == ["push"] else [f"the token is read by {read}"]
    return found + (["a secret is read"] if "secrets." in text else [])


def images_are_named_by_digest(text: str) -> list[str]:
    """A job's container and services, `docker://` actions, and names that only a variable may give."""
    found = []
    for name, job in jobs(text).items():
        named = [job["container"]] if "container" in job else []
        named += list(job.get("services", {}).values())
        for it in named:
            image = it["image"] if isinstance(it, dict) else it
            if not re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", image):
                found.append(f"job {name} uses the image {image}")
    for name, step in steps(text):
        use = step.get("uses", "")
        if use.startswith("docker://") and not re.search(r"@sha256:[0-9a-f]{64}$", use):
            found.append(f"job {name} uses {use}")
        environment = step.get("env", {})
        if environment.get("SCANNER_IMAGE", "${{ vars.SCANNER_IMAGE }}") != (
            "${{ vars.SCANNER_IMAGE }}"
        ):
            found.append(f"job {name} names the scanner {environment['SCANNER_IMAGE']}")
    return found


def what_is_pushed_is_attested(text: str) -> list[str]:
    """Provenance and bill of materials of both images, signed by this workflow, each for the digest that was pushed."""
    found = []
    for image in ("training", "inference"):
        subject = {
            "subject-name": f"${{{{ steps.push.outputs.repository }}}}/{image}",
            "subject-digest": f"${{{{ steps.push.outputs.{image} }}}}",
        }
        for action, more in (
            ("attest-build-provenance", {}),
            ("attest", {"sbom-path": f"runs/reports/{image}.sbom.json"}),
        ):
            if not any(
                step.get("uses", "").startswith(f"actions/{action}@")
                and step.get("with") == {**subject, **more}
                and step.get("if") == "${{ steps.push.outputs.repository != '' }}"
                for step in jobs(text)["push"]["steps"]
            ):
                found.append(f"{image} is not attested by {action}")
    return found


def a_pull_request_stores_no_images_for_nobody(text: str) -> list[str]:
    """They are 3 GB: stored where they are pushed, or where a scanner reads them."""
    conditions = {
        (name, step["name"]): step.get("if")
        for name, step in steps(text)
        if step.get("with", {}).get("name") == "images"
    }
    right = {
        ("build", "Upload the images"): (
            "${{ github.event_name == 'push' || vars.SCANNER_IMAGE != '' }}"
        ),
        ("scan", "Download the images"): WITH_A_SCANNER,
        ("push", "Download the images"): None,
    }
    return [] if conditions == right else [f"images are stored if {conditions}"]


def caches_are_saved_on_main_only(text: str) -> list[str]:
    return [
        f"job {name} saves a cache if {step.get('if')}"
        for name, step in steps(text)
        if re.match(r"actions/cache(/save)?@", step.get("uses", "")) and step.get("if") != ON_MAIN
    ]


RULES: list[Rule] = [
    nothing_writes_for_a_pull_request,
    rights_are_least,
    nothing_is_pushed_unscanned,
    each_job_calls_its_steps_alone,
    no_failure_is_passed_over,
    the_token_is_for_the_push_alone,
    images_are_named_by_digest,
    what_is_pushed_is_attested,
    a_pull_request_stores_no_images_for_nobody,
    caches_are_saved_on_main_only,
]

# (rule, what to replace once, by what)
CONTROLS: list[tuple[Rule, str, str]] = [
    (
        nothing_writes_for_a_pull_request,
        f"    if: {PUBLISHED}\n    needs: [build",
        "    needs: [build",
    ),
    (nothing_writes_for_a_pull_request, "      contents: read", "      packages: write"),
    (
        nothing_writes_for_a_pull_request,
        "    permissions:\n      contents: read # to check out the commit\n",
        "",
    ),
    (
        nothing_writes_for_a_pull_request,
        f"push\n    if: {PUBLISHED}",
        "push\n    if: ${{ github.event_name == 'push' }}",
    ),
    (rights_are_least, "permissions: {}", "permissions: read-all"),
    (rights_are_least, "      attestations: write", "      contents: write"),
    (nothing_is_pushed_unscanned, "needs: [build, scan]", "needs: [build]"),
    (nothing_is_pushed_unscanned, "    needs: build\n", ""),
    (
        each_job_calls_its_steps_alone,
        "run: tools/ci/gate images",
        "run: tools/ci/gate images || true",
    ),
    (each_job_calls_its_steps_alone, '"${TAG}"', '"${{ github.ref }}"'),
    (each_job_calls_its_steps_alone, "images.py push", "images.py label"),
    (
        no_failure_is_passed_over,
        "run: tools/ci/gate images",
        "run: tools/ci/gate images\n        continue-on-error: true",
    ),
    (no_failure_is_passed_over, "      - name: Scan\n", "      - name: Scan\n        if: false\n"),
    (no_failure_is_passed_over, f"push\n    if: {PUBLISHED}", "push\n    if: ${{ always() }}"),
    (no_failure_is_passed_over, "- name: Label\n", "- name: Colour\n"),
    (the_token_is_for_the_push_alone, "${{ vars.SCANNER_COMMAND }}", "${{ github.token }}"),
    (the_token_is_for_the_push_alone, "${{ github.token }}", "${{ secrets.TOKEN }}"),
    (images_are_named_by_digest, "${{ vars.SCANNER_IMAGE }}", "scanner:latest"),
    (
        images_are_named_by_digest,
        "    needs: build\n",
        "    needs: build\n    container: scanner:1.0\n",
    ),
    (images_are_named_by_digest, "uses: actions/checkout", "uses: docker://scanner:1.0 #"),
    (what_is_pushed_is_attested, "runs/reports/training.sbom.json", "runs/reports/other.sbom.json"),
    (what_is_pushed_is_attested, "${{ steps.push.outputs.inference }}\n      -", "latest\n      -"),
    (what_is_pushed_is_attested, "actions/attest-build-provenance@", "actions/attest@"),
    (a_pull_request_stores_no_images_for_nobody, f"        if: {WITH_A_SCANNER}\n", ""),
    (
        a_pull_request_stores_no_images_for_nobody,
        "        if: ${{ github.event_name == 'push' || vars.SCANNER_IMAGE != '' }}\n",
        "",
    ),
    (caches_are_saved_on_main_only, "actions/cache/restore@", "actions/cache@"),
    (caches_are_saved_on_main_only, f"        if: {ON_MAIN}\n", ""),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_workflow_holds_the_rule(rule: Rule) -> None:
    assert rule(PATH.read_text()) == []


@pytest.mark.parametrize(
    ("rule", "old", "new"),
    CONTROLS,
    ids=[f"{control[0].__name__}-{n}" for n, control in enumerate(CONTROLS)],
)
def test_an_altered_copy_breaks_the_rule(rule: Rule, old: str, new: str) -> None:
    text = PATH.read_text()
    assert old in text
    assert rule(text.replace(old, new, 1)) != []


def test_every_rule_has_a_control() -> None:
    assert {control[0] for control in CONTROLS} == set(RULES)
