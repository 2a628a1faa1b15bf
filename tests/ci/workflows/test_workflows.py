"""The workflows run the gates and little else, on the engine that is proven, with least rights, from pinned actions.

Every rule is a function from the files to its findings. The repository must have none, and for each
rule there are altered copies that must have some: a rule that cannot fail holds nothing.
"""

import re

import pytest

from tests.ci.workflows.cache_rules import (
    bazels_results_are_pruned_before_they_are_saved,
    caches_are_keyed_by_engine_and_locks,
    caches_are_saved_on_main_only,
    caches_saved_are_those_restored,
)
from tests.ci.workflows.gate_rules import (
    a_release_is_gated,
    each_gate_is_called_once,
    every_run_is_a_gate_or_known,
    every_test_is_in_a_shard,
    failures_stop_the_run,
    jobs_are_named_after_their_gate,
    machine_is_named,
    no_gate_waits_for_another,
    required_gates_run_on_the_proven_engine,
    superseded_runs_are_cancelled,
    timeouts_follow_the_budgets,
    triggers_are_these,
    what_is_large_has_room,
    what_is_needed_after_a_failure_is_kept,
)
from tests.ci.workflows.trust_rules import (
    actions_are_pinned,
    every_job_has_a_checkout_without_credentials,
    no_setting_is_needed,
    nobody_scans_where_it_costs,
    one_version_of_each_action,
    rights_are_least,
    the_cluster_is_known_where_somebody_has_agreed,
    the_token_is_read_where_images_are_and_where_something_is_published,
    updates_wait_a_week,
    what_is_applied_is_what_was_tried,
)
from tests.ci.workflows.workflow_files import (
    BAZELISK,
    CODEQL,
    DEPENDABOT,
    IMAGES,
    KEEP,
    KIND,
    NIGHTLY,
    PR,
    PREPARE,
    RELEASE,
    ROOT,
    SCORECARD,
    TRAIN,
    Gates,
    Rule,
    list_gates,
    read_files,
)

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
        "run: python3 tools/ci/workflows/settings.py",
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
    (
        what_is_large_has_room,
        NIGHTLY,
        "python3 tools/ci/workflows/disk_space.py --need",
        "df --need",
    ),
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
