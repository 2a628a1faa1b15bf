"""Rules of the workflows: which gates run where, on which machines, and for how long."""

import math
import re

from tests.ci.workflows.workflow_files import (
    BAZELISK,
    IMAGES,
    KIND,
    NIGHTLY,
    PR,
    PREPARATION_MINUTES,
    RELEASE,
    RUNNER,
    SHARDS,
    TIMEOUT_PER_BUDGET,
    TRAIN,
    Files,
    Gates,
    called,
    gate_of,
    jobs,
    jobs_of,
    steps,
    workflow,
    workflows,
)

# What stands in a workflow beside the gates: a script of ours, or one of these.
_SCRIPT = (
    r"python3 tools/ci/(workflows/)?[a-z_]+\.py( [\w./:=~-]+| \"([\w./:=-]|\$\{\w+(#v)?\})*\")*"
)

_OTHER = (
    r"\./tools/bazel run //tools/ci/workflows:image_reports --( [\w./-]+)+",
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
        room = [
            n
            for n, run in enumerate(runs)
            if run.startswith("python3 tools/ci/workflows/disk_space.py")
        ]
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
