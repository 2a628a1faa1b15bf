"""Rules of the workflows: who may do what, with whose code."""

import json
import re
from pathlib import Path
from typing import Any

from tests.ci.workflows.workflow_files import (
    CODEQL,
    DEPENDABOT,
    IMAGES,
    KIND,
    PR,
    RELEASE,
    SCORECARD,
    TRAIN,
    Files,
    Gates,
    jobs,
    jobs_of,
    parse,
    steps,
    workflows,
)

PUSH = {"contents": "read", "packages": "write", "id-token": "write", "attestations": "write"}

PULL = {"contents": "read", "packages": "read"}

RIGHTS = {
    (PR, "passed"): {},
    (IMAGES, "push"): PUSH,
    (RELEASE, "images"): PUSH,
    (RELEASE, "publish"): {"contents": "write"},
    (TRAIN, "proof"): PULL,
    (KIND, "operators"): PULL,
    (CODEQL, "analyze"): {"contents": "read", "security-events": "write"},
    (SCORECARD, "score"): {"contents": "read", "actions": "read", "security-events": "write"},
}


def rights_are_least(files: Files, gates: Gates) -> list[str]:
    findings = [
        f"{path} grants rights to all jobs"
        for path, parsed in workflows(files)
        if parsed.get("permissions") != {}
    ]
    return findings + [
        f"{path}: job {name} has the rights {job.get('permissions')}"
        for path, name, job in jobs(files)
        if job.get("permissions") != RIGHTS.get((path, name), {"contents": "read"})
    ]


def the_token_is_read_where_images_are_and_where_something_is_published(
    files: Files, gates: Gates
) -> list[str]:
    readers = {(path, name) for path, name, job in jobs(files) if "github.token" in json.dumps(job)}
    allowed = {(IMAGES, "push"), (RELEASE, "publish"), (TRAIN, "proof"), (KIND, "operators")}
    return [f"the token is read by {sorted(readers)}"] * (readers != allowed)


def the_cluster_is_known_where_somebody_has_agreed(files: Files, gates: Gates) -> list[str]:
    """The kubeconfig is the only secret: of an environment, in two steps of one job, after all that has to hold."""
    findings = [
        f"{path} reads a secret"
        for path, text in files.items()
        if path != TRAIN and "secrets" in text
    ]
    found = jobs_of(files, TRAIN)
    order = {name: (job.get("needs"), job.get("environment")) for name, job in found.items()}
    right = {"gates": (None, None), "proof": ("gates", None), "launch": ("proof", "training")}
    findings += [] if order == right else [f"{TRAIN} has {order}"]
    gate = found["gates"].get("uses")
    findings += [] if gate == f"$/{PR}" else [f"the gates of {TRAIN} are {gate}"]
    readers = [
        step["name"]
        for step in found["launch"]["steps"]
        if step.get("env", {}).get("KUBECONFIG_CONTENT") == "${{ secrets.KUBECONFIG }}"
    ]
    if readers != ["Apply", "Watch"] or files[TRAIN].count("secrets") != len(readers):
        findings.append(f"the kubeconfig is read by {readers}")
    return findings


def what_is_applied_is_what_was_tried(files: Files, gates: Gates) -> list[str]:
    """One image, by the digest that was pulled: rendered, tried in two pods, and applied."""
    found = jobs_of(files, TRAIN)
    runs = [
        re.sub(r"python3 tools/ci/workflows/train\.py (\w+).*", r"\1", step["run"])
        for job in found.values()
        for step in job.get("steps", [])
        if "tools/ci/workflows/train.py" in step.get("run", "")
    ]
    right = ["image", "render", "proof", "launch", "watch", "verify", "summary"]
    images = {
        step["env"]["IMAGE"]
        for job in found.values()
        for step in job.get("steps", [])
        if step.get("id") != "image" and "IMAGE" in step.get("env", {})
    }
    pulled, handed_on = "${{ steps.image.outputs.image }}", "${{ needs.proof.outputs.image }}"
    held = runs == right and images == {pulled, handed_on}
    held = held and found["proof"].get("outputs") == {"image": pulled}
    return [] if held else [f"{TRAIN} runs {runs} with {images}"]


def no_setting_is_needed(files: Files, gates: Gates) -> list[str]:
    """A variable that is unset is an empty word, which pip would take for an address."""
    findings = []
    for path, text in files.items():
        for line in text.splitlines():
            uses = line.count("vars.")
            optional = re.search(
                r"^ +(SETTING_\w+|SCANNER_IMAGE|SCANNER_COMMAND|IMAGE_REPOSITORY): \$\{\{ vars\.\w+ \}\}$",
                line,
            )
            asked = re.search(r"if: .*vars\.\w+ != ''", line)
            if uses and not ((optional or asked) and uses == 1):
                findings.append(f"{path}: {line.strip()}")
    return findings


def actions_are_pinned(files: Files, gates: Gates) -> list[str]:
    """Ours by the commit that runs, others by a full SHA with the version in a comment."""
    pinned = re.compile(r"[\w.-]+/[\w.-]+(/[\w.-]+)*@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    lines = [
        (path, found.group(1).strip())
        for path, text in files.items()
        for found in re.finditer(r"^\s*(?:- )?uses:(.*)$", text, re.MULTILINE)
    ]
    ours = {f"$/{Path(path).parent}" for path in files if path.startswith(".github/actions/")}
    ours |= {f"$/{path}" for path, _ in workflows(files)}
    findings = [
        f"{path}: {use}" for path, use in lines if use not in ours and not pinned.fullmatch(use)
    ]
    known = sum("uses" in step for _, step in steps(files))
    known += sum("uses" in job for _, _, job in jobs(files))
    if len(lines) != known:
        findings.append("a `uses` is written in a way that this rule does not read")
    return findings


def one_version_of_each_action(files: Files, gates: Gates) -> list[str]:
    versions: dict[str, set[str]] = {}
    for _, step in steps(files):
        action, _, version = step.get("uses", "").partition("@")
        if not action.startswith("$/"):
            versions.setdefault("/".join(action.split("/")[:2]), set()).add(version)
    return [f"{action}: {sorted(found)}" for action, found in versions.items() if len(found) > 1]


def every_job_has_a_checkout_without_credentials(files: Files, gates: Gates) -> list[str]:
    findings = []
    for path, name, job in jobs(files):
        starts = [
            step
            for step in job.get("steps", [])
            if step.get("uses", "").startswith(("actions/checkout@", "$/.github/actions/prepare"))
        ]
        if "uses" not in job and (path, name) != (PR, "passed") and len(starts) != 1:
            findings.append(f"{path}: job {name} has {len(starts)} checkouts")
    return findings + [
        f"{where} keeps its credentials"
        for where, step in steps(files)
        if step.get("uses", "").startswith("actions/checkout@")
        and step.get("with", {}).get("persist-credentials") is not False
    ]


def updates_wait_a_week(files: Files, gates: Gates) -> list[str]:
    updates = parse(files[DEPENDABOT])["updates"]
    found = {
        one["package-ecosystem"]: one.get("cooldown", {}).get("default-days", 0) for one in updates
    }
    right = set(found) == {"github-actions", "docker", "pip"} and min(found.values()) >= 7
    actions: dict[str, Any] = next(
        (one for one in updates if one["package-ecosystem"] == "github-actions"), {}
    )
    ours = {f"/{Path(path).parent}" for path in files if path.startswith(".github/actions/")}
    read = set(actions.get("directories", []))
    return [] if right and read == {"/", *ours} else [f"updates are {found}, of {sorted(read)}"]


def nobody_scans_where_it_costs(files: Files, gates: Gates) -> list[str]:
    """Code scanning fails in a private repository that does not pay for it."""
    return [
        f"{path}: job {name} runs if {job.get('if')}"
        for path in (CODEQL, SCORECARD)
        for name, job in jobs_of(files, path).items()
        if job.get("if") != "${{ !github.event.repository.private }}"
    ]
