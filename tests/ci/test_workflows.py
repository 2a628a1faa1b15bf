"""The workflows run the gates and little else, on the engine that is proven, with least rights, from pinned actions.

Every rule is a function from the files to its findings. The repository must have none, and for each
rule there are altered copies that must have some: a rule that cannot fail holds nothing.
"""

import functools
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PR, IMAGES, NIGHTLY = (f".github/workflows/{name}.yml" for name in ("pr", "images", "nightly"))
BAZELISK, RELEASE = (f".github/workflows/{name}.yml" for name in ("bazelisk", "release"))
TRAIN, KIND = (f".github/workflows/{name}.yml" for name in ("train", "kind"))
CODEQL, SCORECARD = (f".github/workflows/{name}.yml" for name in ("codeql", "scorecard"))
PREPARE, KEEP = (f".github/actions/{name}/action.yml" for name in ("prepare", "keep"))
DEPENDABOT = ".github/dependabot.yml"
RUNNER = "ubuntu-24.04"
TIMEOUT_PER_BUDGET = 4
PREPARATION_MINUTES = 10
ON_MAIN = {"github.event_name == 'push'", "github.ref == 'refs/heads/main'"}
SHARDS = 4

Files = Mapping[str, str]


class Gates(NamedTuple):
    """Budgets in minutes by gate, as the command tells them."""

    day: dict[str, float]
    night: dict[str, float]


Rule = Callable[[Files, Gates], list[str]]


def read_files() -> dict[str, str]:
    """Every YAML file under .github, by its path from the root."""
    found = sorted((ROOT / ".github").rglob("*.yml")) + sorted((ROOT / ".github").rglob("*.yaml"))
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in found}


def list_gates() -> Gates:
    gate = [sys.executable, str(ROOT / "tools/ci/gate"), "--list", "--json"]
    budgets = []
    for more in ([], ["--nightly"]):
        done = subprocess.run([*gate, *more], check=True, capture_output=True, text=True)
        budgets.append({row["name"]: row["budget_minutes"] for row in json.loads(done.stdout)})
    return Gates(*budgets)


@functools.cache
def parse(text: str) -> dict[Any, Any]:
    parsed: dict[Any, Any] = yaml.safe_load(text)
    return parsed


def workflows(files: Files) -> Iterator[tuple[str, dict[Any, Any]]]:
    for path, text in files.items():
        if path.startswith(".github/workflows/"):
            parsed = dict(parse(text))
            parsed["on"] = parsed.pop(True)  # YAML 1.1 reads the bare key `on` as a boolean
            yield path, parsed


def workflow(files: Files, path: str) -> dict[Any, Any]:
    return dict(workflows(files))[path]


def jobs(files: Files) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, name and content of every job."""
    for path, parsed in workflows(files):
        for name, job in parsed["jobs"].items():
            yield path, name, job


def jobs_of(files: Files, path: str) -> dict[str, dict[str, Any]]:
    return dict(workflow(files, path)["jobs"])


def steps(files: Files) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each step of the jobs and of our own actions, with the name of where it stands."""
    for path, name, job in jobs(files):
        for step in job.get("steps", []):
            yield f"{path}, job {name}", step
    for path, text in files.items():
        if path.startswith(".github/actions/"):
            for step in parse(text)["runs"]["steps"]:
                yield path, step


def gate_of(step: Mapping[str, Any]) -> str | None:
    """The gate that a step calls; None when it is anything but one plain call of one gate."""
    run = str(step.get("run", "")).strip()
    if run == 'tools/ci/gate "${GATE}"' and step["env"] == {"GATE": "${{ matrix.gate }}"}:
        return "matrix"
    if run == f'tools/ci/gate tests --shard "${{SHARD}}/{SHARDS}"' and step["env"] == {
        "SHARD": "${{ matrix.shard }}"
    }:
        return "tests"
    call = re.fullmatch(r"tools/ci/gate ([a-z]+)", run)
    return call.group(1) if call else None


def called(files: Files, path: str) -> dict[str, list[str]]:
    """The gates that each job of a workflow calls, less jobs that call none."""
    found = {
        name: [gate for step in job.get("steps", []) if (gate := gate_of(step))]
        for name, job in jobs_of(files, path).items()
    }
    return {name: gates for name, gates in found.items() if gates}


# What stands in a workflow beside the gates: a script of tools/ci, or one of these.
_SCRIPT = r"python3 tools/ci/[a-z_]+\.py( [\w./:=~-]+| \"([\w./:=-]|\$\{\w+(#v)?\})*\")*"
_OTHER = (
    r"\./tools/bazel run //tools/ci:image_reports --( [\w./-]+)+",
    r"apt-get -qq update\napt-get -qq install --yes --no-install-recommends [a-z0-9 -]+",
    r'git config --system --add safe\.directory "\$\{GITHUB_WORKSPACE\}"',
    r"sudo sysctl --write kernel\.apparmor_restrict_unprivileged_userns=0",
    r'echo "\$\{RESULTS\}"\n\[\[ "\$\{RESULTS\}" =~ \^success\(\\ success\)\*\$ \]\]',
    r'gh release create "\$\{GITHUB_REF_NAME\}" --verify-tag --title "\$\{GITHUB_REF_NAME\}" --notes-file notes\.md',
)


def every_run_is_a_gate_or_known(files: Files, gates: Gates) -> list[str]:
    known = re.compile("|".join(f"(?:{one})" for one in (_SCRIPT, *_OTHER)))
    return [
        f"{where} runs {step['run']!r}"
        for where, step in steps(files)
        if "run" in step and gate_of(step) is None and not known.fullmatch(step["run"].strip())
    ]


def each_gate_is_called_once(files: Files, gates: Gates) -> list[str]:
    by_day = sorted(set(gates.day) - {"images"})
    expected = {PR: by_day, IMAGES: ["images"], NIGHTLY: sorted(gates.night)}
    findings = []
    for path, wanted in expected.items():
        calls = sorted(gate for found in called(files, path).values() for gate in found)
        findings += [f"{path} calls {calls}, not {wanted}"] * (calls != wanted)
    other = sorted(jobs_of(files, BAZELISK)["gates"]["strategy"]["matrix"]["gate"])
    return findings + [f"{BAZELISK} calls {other}, not {by_day}"] * (other != by_day)


def jobs_are_named_after_their_gate(files: Files, gates: Gates) -> list[str]:
    return [
        f"{path}: job {name} calls {gates_called}"
        for path in (PR, NIGHTLY)
        for name, gates_called in called(files, path).items()
        if gates_called != [name] or not jobs_of(files, path)[name]["name"].startswith(name)
    ]


def no_gate_waits_for_another(files: Files, gates: Gates) -> list[str]:
    """Only `passed` needs others: all of them, whatever became of them. Quality is the first that one sees."""
    found = jobs_of(files, PR)
    last = found.pop("passed", {})
    findings = [f"job {name} waits" for name, job in found.items() if "needs" in job]
    findings += ["quality is not first"] if next(iter(found)) != "quality" else []
    counted = last.get("if"), sorted(last.get("needs", []))
    right = "${{ always() }}", sorted(found)
    return findings + [f"passed counts {counted}"] * (counted != right)


def every_test_is_in_a_shard(files: Files, gates: Gates) -> list[str]:
    strategy = jobs_of(files, PR)["tests"].get("strategy")
    right = {"fail-fast": False, "matrix": {"shard": list(range(1, SHARDS + 1))}}
    return [] if strategy == right else [f"the tests run in {strategy}"]


def failures_stop_the_run(files: Files, gates: Gates) -> list[str]:
    """But for the engine that was not yet run, whose jobs are not required."""
    held = [
        (f"{path}, job {name}", job) for path, name, job in jobs(files) if path in (PR, NIGHTLY)
    ]
    held = [(where, job) for where, job in held if not where.endswith("job passed")]
    held += [(where, step) for where, step in steps(files) if gate_of(step)]
    findings = [
        f"{where} has {key}"
        for where, it in held
        for key in ("if", "continue-on-error")
        if key in it
    ]
    tolerant = {path for path, _, job in jobs(files) if "continue-on-error" in job}
    tolerant |= {where for where, step in steps(files) if "continue-on-error" in step}
    return findings + [f"{where} passes over failures" for where in tolerant - {BAZELISK}]


def triggers_are_these(files: Files, gates: Gates) -> list[str]:
    change = {
        "pull_request": None,
        "merge_group": {"types": ["checks_requested"]},
        "push": {"branches": ["main"]},
    }
    found = {path: dict(parsed["on"]) for path, parsed in workflows(files)}
    for path in (PR, IMAGES):
        found[path].pop("workflow_call", None)
    findings = [f"{path} runs on {found[path]}" for path in (PR, IMAGES) if found[path] != change]
    if list(found[RELEASE]) != ["push"] or list(found[RELEASE]["push"]) != ["tags"]:
        findings.append(f"{RELEASE} runs on {found[RELEASE]}")
    by_hand = ["workflow_dispatch"]
    others = {NIGHTLY: ["schedule", *by_hand], KIND: ["schedule", *by_hand], TRAIN: by_hand}
    findings += [
        f"{path} runs on {found[path]}" for path, on in others.items() if sorted(found[path]) != on
    ]
    barred = {"pull_request_target", "workflow_run", "issue_comment"}
    return findings + [f"{path} runs on {on}" for path, on in found.items() if barred & set(on)]


def superseded_runs_are_cancelled(files: Files, gates: Gates) -> list[str]:
    """Of a pull request; a run on main, in the merge queue or of a tag never is."""
    findings = []
    for path, parsed in workflows(files):
        concurrency = parsed.get("concurrency", {})
        group = str(concurrency.get("group"))
        cancel = concurrency.get("cancel-in-progress")
        if "pull_request" in parsed["on"]:
            right = group.endswith("-${{ github.event.pull_request.number || github.run_id }}")
            right = right and cancel == "${{ github.event_name == 'pull_request' }}"
        else:
            right = cancel is False
        if not right or not group.startswith("${{ github.workflow }}"):
            findings.append(f"{path}: the concurrency is {concurrency}")
    return findings


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
        re.sub(r"python3 tools/ci/train\.py (\w+).*", r"\1", step["run"])
        for job in found.values()
        for step in job.get("steps", [])
        if "tools/ci/train.py" in step.get("run", "")
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


def machine_is_named(files: Files, gates: Gates) -> list[str]:
    return [
        f"{path}: job {name} runs on {job.get('runs-on')}"
        for path, name, job in jobs(files)
        if "uses" not in job and job.get("runs-on") != RUNNER
    ]


def required_gates_run_on_the_proven_engine(files: Files, gates: Gates) -> list[str]:
    """In one image of Debian 12, named by its digest, with the namespaces that a sandbox needs."""
    findings, images = [], set()
    for path in (PR, IMAGES, NIGHTLY):
        parsed = workflow(files, path)
        for name in called(files, path):
            job = parsed["jobs"][name]
            container = job.get("container", {})
            images.add(container.get("image"))
            engine = (parsed.get("env", {}) | job.get("env", {})).get("RETORT_ENGINE")
            options = str(container.get("options")).split()
            if engine != "airgap" or not {"--privileged", "--init"} <= set(options):
                findings.append(f"{path}: job {name} runs engine {engine} with {options}")
    one = len(images) == 1 and re.fullmatch(r"debian:12@sha256:[0-9a-f]{64}", str(*images))
    findings += [] if one else [f"the images are {images}"]
    engine = workflow(files, BAZELISK).get("env", {}).get("RETORT_ENGINE")
    return findings + [f"{BAZELISK} runs engine {engine}"] * (engine != "upstream")


def timeouts_follow_the_budgets(files: Files, gates: Gates) -> list[str]:
    """A gate stops what hangs, and says so; its job ends later, by the time to prepare."""
    budgets = gates.day | gates.night
    parts = {(PR, "tests"): SHARDS}
    findings = []
    for path in (PR, IMAGES, NIGHTLY):
        for name, (gate, *_) in called(files, path).items():
            budget = math.ceil(budgets.get(gate, 0) / parts.get((path, name), 1))
            minutes = jobs_of(files, path)[name].get("timeout-minutes")
            if minutes != TIMEOUT_PER_BUDGET * budget + PREPARATION_MINUTES:
                findings.append(
                    f"{path}: job {name} ends after {minutes} min; the budget is {budget}"
                )
    longest = max(budget for gate, budget in gates.day.items() if gate != "images")
    minutes = jobs_of(files, BAZELISK)["gates"].get("timeout-minutes")
    if minutes != TIMEOUT_PER_BUDGET * longest + PREPARATION_MINUTES:
        findings.append(f"{BAZELISK} ends after {minutes} min")
    return findings + [
        f"{path}: job {name} has no timeout"
        for path, name, job in jobs(files)
        if "uses" not in job and "timeout-minutes" not in job
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
    """Prepare offers path and key of each cache; a job hands them to keep; keep saves what it is handed."""
    prepare, keep = parse(files[PREPARE]), parse(files[KEEP])
    offered = {name: output["value"] for name, output in prepare["outputs"].items()}
    restored = {step["id"]: step["with"] for step in prepare["runs"]["steps"] if "id" in step}
    findings = [
        f"{cache} restores {part['path']!r} and offers {offered.get(f'{cache}-path')!r}"
        for cache, part in restored.items()
        if offered.get(f"{cache}-path", "").strip() != part["path"].strip()
        or offered.get(f"{cache}-key") != f"${{{{ steps.{cache}.outputs.cache-primary-key }}}}"
    ]
    saved = [
        step["with"] for step in keep["runs"]["steps"] if "cache/save@" in step.get("uses", "")
    ]
    right = [
        {key: f"${{{{ inputs.{cache}-{key} }}}}" for key in ("path", "key")}
        for cache in reversed(restored)
    ]
    findings += [f"saved are {saved}"] * (saved != right)
    for where, step in steps(files):
        if step.get("uses") == "$/.github/actions/keep":
            findings += [
                f"{where} keeps {value} as {name}"
                for name, value in step["with"].items()
                if value != f"${{{{ steps.prepare.outputs.{name} }}}}"
            ]
    return findings


def caches_are_keyed_by_engine_and_locks(files: Files, gates: Gates) -> list[str]:
    """Results are of one engine and one state of the locks; also where an older key is taken."""
    findings = []
    for step in parse(files[PREPARE])["runs"]["steps"]:
        if "cache/restore@" in step.get("uses", ""):
            keys = [step["with"]["key"], *step["with"]["restore-keys"].splitlines()]
            wanted = ["${{ inputs.engine }}", "${{ runner.arch }}"]
            wanted += ["'third_party/**'"] if step["id"] == "results" else []
            findings += [f"the key {key}" for key in keys if not all(one in key for one in wanted)]
            findings += [] if "third_party/" in keys[0] else [f"the key {keys[0]}"]
    return findings


def bazels_results_are_pruned_before_they_are_saved(files: Files, gates: Gates) -> list[str]:
    found = [
        (step.get("run") or step["uses"].partition("@")[0], step["if"])
        for step in parse(files[KEEP])["runs"]["steps"]
    ]
    pruned, saved = found[0], found[1]
    folder = "~/.cache/retort-results"
    right = re.fullmatch(
        rf"python3 tools/ci/disk_cache\.py prune --limit-mb (\d+) --folder {folder}", pruned[0]
    )
    bounded = right is not None and int(right[1]) <= 1024
    return [] if bounded and pruned[1] == saved[1] else [f"{pruned} before {saved}"]


def what_is_needed_after_a_failure_is_kept(files: Files, gates: Gates) -> list[str]:
    uploads = {
        name: [
            (step["with"]["path"], step["if"])
            for step in job.get("steps", [])
            if "actions/upload-artifact@" in step.get("uses", "")
        ]
        for name, job in jobs_of(files, PR).items()
    }
    logs = [("bazel-testlogs/**/test.log", "${{ failure() }}")]
    smoke = [f"runs/smoke/{name}" for name in ("report.html", "checkpoint/manifest.json")]
    report = "\n".join([*smoke, "runs/smoke/tokens/manifest.json", ""])
    expected = {"smoke": [(report, "${{ !cancelled() }}")], "locks": logs, "tests": logs}
    found = {name: paths for name, paths in uploads.items() if paths}
    return [] if found == expected else [f"uploads are {found}"]


def what_is_large_has_room(files: Files, gates: Gates) -> list[str]:
    """Room is made before the gate that needs it, and what it took is measured after it."""
    findings = []
    for path, name in ((IMAGES, "build"), (NIGHTLY, "cuda")):
        runs = [str(step.get("run", "")) for step in jobs_of(files, path)[name]["steps"]]
        room = [n for n, run in enumerate(runs) if run.startswith("python3 tools/ci/disk_space.py")]
        gate = [n for n, run in enumerate(runs) if run.startswith("tools/ci/gate")]
        if not (len(room) == 2 and room[0] < gate[0] < room[1] and "--need-gb" in runs[room[0]]):
            findings.append(f"{path}: job {name} runs {runs}")
        mounted = {
            volume.partition(":")[2]
            for volume in jobs_of(files, path)[name]["container"].get("volumes", [])
        }
        named = set(re.findall(r"/host/\w+", runs[room[0]])) if room else set()
        if not named or not named <= mounted:
            findings.append(f"{path}: job {name} empties {sorted(named)} of {sorted(mounted)}")
    return findings


def a_release_is_gated(files: Files, gates: Gates) -> list[str]:
    found = [
        (name, job.get("needs"), job.get("uses")) for name, job in jobs_of(files, RELEASE).items()
    ]
    right = [
        ("gates", None, f"$/{PR}"),
        ("images", "gates", f"$/{IMAGES}"),
        ("publish", "images", None),
    ]
    return [] if found == right else [f"a release is {found}"]


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


RULES: list[Rule] = [
    every_run_is_a_gate_or_known,
    each_gate_is_called_once,
    jobs_are_named_after_their_gate,
    no_gate_waits_for_another,
    every_test_is_in_a_shard,
    failures_stop_the_run,
    triggers_are_these,
    superseded_runs_are_cancelled,
    rights_are_least,
    the_token_is_read_where_images_are_and_where_something_is_published,
    the_cluster_is_known_where_somebody_has_agreed,
    what_is_applied_is_what_was_tried,
    no_setting_is_needed,
    actions_are_pinned,
    one_version_of_each_action,
    every_job_has_a_checkout_without_credentials,
    machine_is_named,
    required_gates_run_on_the_proven_engine,
    timeouts_follow_the_budgets,
    caches_are_saved_on_main_only,
    caches_saved_are_those_restored,
    caches_are_keyed_by_engine_and_locks,
    bazels_results_are_pruned_before_they_are_saved,
    what_is_needed_after_a_failure_is_kept,
    what_is_large_has_room,
    a_release_is_gated,
    updates_wait_a_week,
    nobody_scans_where_it_costs,
]

CHECKOUT_PIN = re.search(r"actions/checkout@\w+ # v[\d.]+", read_files()[PREPARE])
assert CHECKOUT_PIN, f"{PREPARE} checks nothing out"
CHECKOUT = CHECKOUT_PIN.group()
RUN = "run: tools/ci/gate smoke\n"

# (rule, file, what to replace once, by what)
CONTROLS: list[tuple[Rule, str, str, str]] = [
    (every_run_is_a_gate_or_known, PR, RUN, RUN.replace("\n", " || true\n")),
    (every_run_is_a_gate_or_known, PR, RUN, "run: ./tools/bazel run //train:smoke\n"),
    (every_run_is_a_gate_or_known, PR, RUN, "run: tools/ci/gate ${{ github.ref }}\n"),
    (
        every_run_is_a_gate_or_known,
        PREPARE,
        "run: python3 tools/ci/settings.py",
        "run: pip install bazelisk",
    ),
    (
        every_run_is_a_gate_or_known,
        RELEASE,
        '--title "${GITHUB_REF_NAME}"',
        "--title ${{ github.ref_name }}",
    ),
    (every_run_is_a_gate_or_known, IMAGES, '"${GITHUB_SHA}"', "$(cat x)"),
    (each_gate_is_called_once, PR, "gate quality", "gate build"),
    (each_gate_is_called_once, PR, "gate quality", "gate colour"),
    (each_gate_is_called_once, NIGHTLY, "gate long", "gate imdb"),
    (each_gate_is_called_once, BAZELISK, "[quality, smoke,", "[smoke,"),
    (jobs_are_named_after_their_gate, PR, "name: quality\n", "name: build\n"),
    (jobs_are_named_after_their_gate, NIGHTLY, "gate long", "gate imdb"),
    (no_gate_waits_for_another, PR, "    name: build\n", "    name: build\n    needs: smoke\n"),
    (no_gate_waits_for_another, PR, "needs: [quality, smoke,", "needs: [smoke,"),
    (no_gate_waits_for_another, PR, "${{ always() }}", "${{ !cancelled() }}"),
    (no_gate_waits_for_another, PR, "  quality:\n", "  first:\n    runs-on: x\n  quality:\n"),
    (every_test_is_in_a_shard, PR, "shard: [1, 2, 3, 4]", "shard: [1, 2, 3]"),
    (failures_stop_the_run, PR, "    name: smoke\n", "    name: smoke\n    if: always()\n"),
    (failures_stop_the_run, PR, RUN, f"{RUN}        continue-on-error: true\n"),
    (
        failures_stop_the_run,
        IMAGES,
        "    name: scan\n",
        "    name: scan\n    continue-on-error: true\n",
    ),
    (triggers_are_these, PR, "pull_request:", "pull_request_target:"),
    (triggers_are_these, PR, "branches: [main]", "branches: ['**']"),
    (triggers_are_these, IMAGES, "  merge_group:\n    types: [checks_requested]\n", ""),
    (triggers_are_these, RELEASE, "    tags:", "    branches: [main]\n    tags:"),
    (triggers_are_these, TRAIN, "  workflow_dispatch:", "  push:\n  workflow_dispatch:"),
    (triggers_are_these, KIND, "  schedule:", "  push:\n  schedule:"),
    (triggers_are_these, CODEQL, "  pull_request:", "  pull_request_target:"),
    (superseded_runs_are_cancelled, PR, "|| github.run_id", "|| github.ref"),
    (superseded_runs_are_cancelled, IMAGES, "${{ github.event_name == 'pull_request' }}", "false"),
    (
        superseded_runs_are_cancelled,
        RELEASE,
        "cancel-in-progress: false",
        "cancel-in-progress: true",
    ),
    (rights_are_least, PR, "permissions: {}", "permissions: read-all"),
    (rights_are_least, NIGHTLY, "permissions: {}\n", ""),
    (rights_are_least, PR, "contents: read", "contents: write"),
    (
        rights_are_least,
        RELEASE,
        "      contents: write",
        "      id-token: write\n      contents: write",
    ),
    (
        the_token_is_read_where_images_are_and_where_something_is_published,
        CODEQL,
        "build-mode: none",
        "token: ${{ github.token }}",
    ),
    (the_cluster_is_known_where_somebody_has_agreed, PR, "${{ vars.PIP", "${{ secrets.PIP"),
    (
        the_cluster_is_known_where_somebody_has_agreed,
        TRAIN,
        "    environment: training\n",
        "",
    ),
    (the_cluster_is_known_where_somebody_has_agreed, TRAIN, "    needs: proof\n", ""),
    (the_cluster_is_known_where_somebody_has_agreed, TRAIN, "    needs: gates\n", ""),
    (the_cluster_is_known_where_somebody_has_agreed, TRAIN, "pr.yml", "codeql.yml"),
    (
        the_cluster_is_known_where_somebody_has_agreed,
        TRAIN,
        "SEAL: ${{ inputs.seal }}",
        "SEAL: ${{ secrets.KUBECONFIG }}",
    ),
    (
        what_is_applied_is_what_was_tried,
        TRAIN,
        "IMAGE: ${{ needs.proof.outputs.image }}",
        "IMAGE: ${{ inputs.image }}",
    ),
    (what_is_applied_is_what_was_tried, TRAIN, "train.py proof --out", "train.py verify --out"),
    (no_setting_is_needed, PR, "  SETTING_PIP_INDEX_URL", "  PIP_INDEX_URL"),
    (no_setting_is_needed, IMAGES, "IMAGE_REPOSITORY: ${{ vars", "NAME: x/${{ vars"),
    (actions_are_pinned, PREPARE, CHECKOUT, "actions/checkout@v7"),
    (actions_are_pinned, PREPARE, CHECKOUT, CHECKOUT.partition(" #")[0]),
    (actions_are_pinned, RELEASE, CHECKOUT, CHECKOUT.replace("@", "@0")),
    (actions_are_pinned, CODEQL, f"uses: {CHECKOUT}", '"uses": actions/checkout@v7'),
    (actions_are_pinned, PR, "$/.github/actions/prepare", "./.github/actions/prepare"),
    (actions_are_pinned, PR, "$/.github/actions/prepare", "$/.github/actions/absent"),
    (one_version_of_each_action, RELEASE, CHECKOUT, f"actions/checkout@{'0' * 40} # v7.0.1"),
    (one_version_of_each_action, CODEQL, "codeql-action/init@c", "codeql-action/init@d"),
    (
        every_job_has_a_checkout_without_credentials,
        PREPARE,
        "persist-credentials: false",
        "persist-credentials: true",
    ),
    (
        every_job_has_a_checkout_without_credentials,
        RELEASE,
        CHECKOUT,
        CHECKOUT.replace("kout", "k-out"),
    ),
    (
        every_job_has_a_checkout_without_credentials,
        PR,
        "uses: $/.github/actions/prepare",
        "uses: $/.github/actions/keep",
    ),
    (machine_is_named, PR, "runs-on: ubuntu-24.04", "runs-on: ubuntu-latest"),
    (
        required_gates_run_on_the_proven_engine,
        PR,
        "RETORT_ENGINE: airgap",
        "RETORT_ENGINE: upstream",
    ),
    (required_gates_run_on_the_proven_engine, PR, "image: debian:12@", "image: debian:13@"),
    (required_gates_run_on_the_proven_engine, NIGHTLY, "--privileged ", ""),
    (required_gates_run_on_the_proven_engine, IMAGES, "@sha256:9", "@sha256:8"),
    (required_gates_run_on_the_proven_engine, BAZELISK, "RETORT_ENGINE: upstream", "X: upstream"),
    (timeouts_follow_the_budgets, PR, "    timeout-minutes: ", "    timeout-minutes: 1"),
    (timeouts_follow_the_budgets, NIGHTLY, "    timeout-minutes: ", "    # timeout-minutes: "),
    (timeouts_follow_the_budgets, BAZELISK, "    timeout-minutes: ", "    # timeout-minutes: "),
    (
        caches_are_saved_on_main_only,
        KEEP,
        "github.event_name == 'push' && github.ref == 'refs/heads/main' && inputs.downloads",
        "github.ref == 'refs/heads/main' && inputs.downloads",
    ),
    (
        caches_are_saved_on_main_only,
        IMAGES,
        "${{ github.event_name == 'push' && github.ref == 'refs/heads/main' }}",
        "${{ true }}",
    ),
    (
        caches_are_saved_on_main_only,
        KEEP,
        "'refs/heads/main' && inputs.downloads-key",
        "'refs/heads/main' || inputs.downloads-key",
    ),
    (caches_are_saved_on_main_only, PREPARE, "actions/cache/restore@", "actions/cache@"),
    (caches_are_saved_on_main_only, PREPARE, '"3.11"\n', '"3.11"\n        cache: pip\n'),
    (caches_saved_are_those_restored, PREPARE, "'~/.cache/retort' }}\n", "'~/.cache' }}\n"),
    (caches_saved_are_those_restored, PR, "outputs.downloads-key", "outputs.downloads-path"),
    (caches_saved_are_those_restored, KEEP, "key: ${{ inputs.results-key }}", "key: results"),
    (
        caches_are_keyed_by_engine_and_locks,
        PREPARE,
        "key: results-${{ inputs.engine }}",
        "key: results",
    ),
    (
        caches_are_keyed_by_engine_and_locks,
        PREPARE,
        "restore-keys: results-",
        "restore-keys: |\n          results-\n          results-",
    ),
    (caches_are_keyed_by_engine_and_locks, PREPARE, ", 'third_party/**'", ""),
    (bazels_results_are_pruned_before_they_are_saved, KEEP, "--limit-mb 512", "--limit-mb 9999"),
    (bazels_results_are_pruned_before_they_are_saved, KEEP, "cache.py prune", "cache.py use"),
    (bazels_results_are_pruned_before_they_are_saved, KEEP, "inputs.results-key != ''", "false"),
    (what_is_needed_after_a_failure_is_kept, PR, "${{ failure() }}", "${{ cancelled() }}"),
    (what_is_needed_after_a_failure_is_kept, PR, "runs/smoke/report.html", "runs/report.html"),
    (what_is_large_has_room, IMAGES, "--need-gb 25 ", ""),
    (what_is_large_has_room, NIGHTLY, "- /opt/ghc:/host/ghc\n", "- /opt/ghc:/ghc\n"),
    (what_is_large_has_room, NIGHTLY, "python3 tools/ci/disk_space.py --need", "df --need"),
    (a_release_is_gated, RELEASE, "    needs: gates\n", ""),
    (a_release_is_gated, RELEASE, "pr.yml", "codeql.yml"),
    (updates_wait_a_week, DEPENDABOT, "default-days: 7", "default-days: 1"),
    (updates_wait_a_week, DEPENDABOT, "package-ecosystem: docker", "package-ecosystem: npm"),
    (updates_wait_a_week, DEPENDABOT, "      - /.github/actions/keep\n", ""),
    (nobody_scans_where_it_costs, CODEQL, "    if: ${{ !github.event.repository.private }}\n", ""),
]


@pytest.fixture(scope="module")
def gates() -> Gates:
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


def test_a_gate_that_no_workflow_knows_is_found(gates: Gates) -> None:
    assert each_gate_is_called_once(read_files(), Gates({**gates.day, "new": 5}, gates.night)) != []
    assert each_gate_is_called_once(read_files(), Gates(gates.day, {**gates.night, "new": 5})) != []


def test_a_changed_budget_is_found(gates: Gates) -> None:
    changed = Gates({**gates.day, "smoke": gates.day["smoke"] + 1}, gates.night)
    assert timeouts_follow_the_budgets(read_files(), changed) != []


def test_no_workflow_escapes_the_rules() -> None:
    found = {f".github/workflows/{path.name}" for path in (ROOT / ".github/workflows").iterdir()}
    assert found == {PR, IMAGES, NIGHTLY, BAZELISK, RELEASE, TRAIN, KIND, CODEQL, SCORECARD}
