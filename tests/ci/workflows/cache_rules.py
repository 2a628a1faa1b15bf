"""Rules of the workflows: what is kept from run to run."""

import re

from tests.ci.workflows.workflow_files import KEEP, ON_MAIN, PREPARE, Files, Gates, parse, steps


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
        rf"python3 tools/ci/workflows/disk_cache\.py prune --limit-mb (\d+) --folder {folder}",
        pruned[0],
    )
    bounded = right is not None and int(right[1]) <= 1024
    return [] if bounded and pruned[1] == saved[1] else [f"{pruned} before {saved}"]
