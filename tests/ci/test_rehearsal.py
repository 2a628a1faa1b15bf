"""The rehearsal of workflows, on small ones: real clones, scripts and processes."""

import pathlib
import subprocess

import pytest

from tools.ci.rehearsal import expressions
from tools.ci.rehearsal import main as rehearsal
from tools.ci.rehearsal.expressions import Evaluator, RefusedError

CONTEXTS = {
    "env": {"ENGINE": "airgap", "EMPTY": ""},
    "github": {"event_name": "push", "ref": "refs/heads/main", "event": {"private": False}},
    "matrix": {"shard": 2},
    "needs": {"a": {"result": "success"}, "b": {"result": "failure"}},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'it''s'", "it's"),
        ("matrix.shard", 2),
        ("matrix.shard == 2 && 'two' || 'other'", "two"),
        ("matrix.shard == '2'", True),
        ("env.EMPTY || 'default'", "default"),
        ("env.ENGINE == 'AirGap'", True),
        ("env.ENGINE != 'airgap'", False),
        ("!github.event.private", True),
        ("github.event.nothing.at.all", None),
        ("github.event.nothing == ''", True),
        (
            "github.event_name == 'push' && (github.ref == 'x' || github.ref == 'refs/heads/main')",
            True,
        ),
        ("join(needs.*.result, ' ')", "success failure"),
        ("contains(needs.*.result, 'failure')", True),
        ("startsWith(github.ref, 'refs/HEADS/')", True),
        ("format('{0}-{1}', env.ENGINE, matrix.shard)", "airgap-2"),
        ("success() || failure()", True),
        ("always() && !cancelled()", True),
    ],
)
def test_an_expression_has_githubs_value(
    tmp_path: pathlib.Path, text: str, value: expressions.Value
) -> None:
    assert Evaluator(CONTEXTS, tmp_path).evaluate(text) == value


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("secrets.TOKEN", "the context secrets"),
        ("toJSON(env)", "the function toJSON"),
        ("env[0]", "'['"),
        ("1 < 2", "' < 2'"),
        ("env.", "its end"),
        ("(env.A", "its end"),
        ("env.A env.B", "'env'"),
    ],
)
def test_an_expression_that_is_not_known_is_refused_by_name(
    tmp_path: pathlib.Path, text: str, named: str
) -> None:
    with pytest.raises(RefusedError, match=named.replace("[", r"\[")):
        Evaluator(CONTEXTS, tmp_path).evaluate(text)


def test_files_have_one_digest_whatever_the_order(tmp_path: pathlib.Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("a.lock", "below/b.lock"):
        (tmp_path / name).write_text(name)
    ask = Evaluator({}, tmp_path).evaluate
    assert ask("hashFiles('**/*.lock')") == ask("hashFiles('below/b.lock', '*.lock')")
    assert ask("hashFiles('absent')") == ""
    assert len(ask("hashFiles('a.lock')")) == 64


@pytest.fixture
def checkout(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A repository with one commit, and one file that is not in it."""
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "tracked").write_text("tracked\n")
    run = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message=a"]):
        subprocess.run([*run, *words], check=True)
    (folder / "untracked").touch()
    monkeypatch.setenv("BUILD_WORKSPACE_DIRECTORY", str(folder))
    return folder


def _rehearse(checkout: pathlib.Path, workflow: str, *more: str) -> int:
    path = checkout / ".github/workflows/made.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(workflow)
    return rehearsal.main(["made", "--here", "--pass", f"OUT={checkout}", *more])


CHECKOUT = "      - uses: actions/checkout@0000\n"
ONE = f"""
env: {{WHERE: workflow, OTHER: workflow}}
defaults: {{run: {{shell: bash}}}}
jobs:
  one:
    runs-on: ubuntu-24.04
    env: {{OTHER: job}}
    steps:
{CHECKOUT}"""


def test_steps_run_in_order_in_a_clean_clone(checkout: pathlib.Path) -> None:
    code = _rehearse(
        checkout,
        f"""{ONE}
      - run: ls > "$OUT/seen"; mkdir below; echo "$WHERE $OTHER $MINE $CI" > "$OUT/said"
        env: {{MINE: step}}
      - run: pwd > "$OUT/folder"
        working-directory: below
""",
    )
    assert code == 0
    assert (checkout / "seen").read_text() == "tracked\n"
    assert (checkout / "said").read_text() == "workflow job step true\n"
    assert (checkout / "folder").read_text().endswith("/below\n")


def test_what_a_step_hands_on_reaches_the_next(checkout: pathlib.Path) -> None:
    code = _rehearse(
        checkout,
        f"""{ONE}
      - id: first
        run: |
          echo digest=sha256:1=2 >> "$GITHUB_OUTPUT"
          printf 'LINES<<EOF\\na\\nb=c\\nEOF\\n' >> "$GITHUB_ENV"
          echo /opt/mine >> "$GITHUB_PATH"
          echo shown >> "$GITHUB_STEP_SUMMARY"
      - run: printf '%s;' "$DIGEST" "$LINES" "${{PATH%%:*}}" > "$OUT/said"
        env:
          DIGEST: ${{{{ steps.first.outputs.digest }}}}
""",
    )
    assert code == 0
    assert (checkout / "said").read_text() == "sha256:1=2;a\nb=c;/opt/mine;"


def test_a_failure_ends_the_job_but_for_steps_that_want_to_know(
    checkout: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = _rehearse(
        checkout,
        f"""{ONE}
      - run: false | true
      - run: touch "$OUT/after"
      - run: touch "$OUT/because"
        if: ${{{{ failure() }}}}
      - run: touch "$OUT/anyway"
        if: ${{{{ !cancelled() }}}}
  two:
    needs: one
    runs-on: ubuntu-24.04
    steps:
      - run: touch "$OUT/two"
  three:
    needs: [one, two]
    if: ${{{{ always() }}}}
    runs-on: ubuntu-24.04
    steps:
      - run: echo "$RESULTS" > "$OUT/results"
        env:
          RESULTS: ${{{{ join(needs.*.result, ' ') }}}}
""",
    )
    assert code == 1
    assert not (checkout / "after").exists()
    assert not (checkout / "two").exists()
    assert (checkout / "because").exists()
    assert (checkout / "anyway").exists()
    assert (checkout / "results").read_text() == "failure skipped\n"
    assert "one    job: FAILED" in capsys.readouterr().out


def test_a_matrix_is_a_job_for_each_value(checkout: pathlib.Path) -> None:
    workflow = f"""
jobs:
  one:
    runs-on: ubuntu-24.04
    strategy: {{matrix: {{shard: [1, 2], kind: [a]}}}}
    steps:
{CHECKOUT}      - run: test ! -e mark && touch mark && touch "$OUT/$NAME"
        env: {{NAME: "${{{{ matrix.kind }}}}${{{{ matrix.shard }}}}"}}
"""
    assert _rehearse(checkout, workflow) == 0
    assert (checkout / "a1").exists()
    assert (checkout / "a2").exists()


ACTION = """
name: made
description: made
inputs:
  word: {description: a word, default: none}
outputs:
  said: {description: it, value: "${{ steps.say.outputs.said }}"}
runs:
  using: composite
  steps:
    - id: say
      shell: bash
      env: {WORD: "${{ inputs.word }}"}
      run: |
        echo "said=$WORD" >> "$GITHUB_OUTPUT"
        echo "SET=by the action" >> "$GITHUB_ENV"
    - if: ${{ inputs.word == 'fail' }}
      shell: bash
      run: exit 3
    - uses: actions/cache/restore@0000
"""


def _with_action(checkout: pathlib.Path) -> None:
    path = checkout / ".github/actions/made/action.yml"
    path.parent.mkdir(parents=True)
    path.write_text(ACTION)


def test_an_action_of_ours_is_run_and_others_are_named(
    checkout: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _with_action(checkout)
    code = _rehearse(
        checkout,
        f"""{ONE}
      - id: made
        uses: $/.github/actions/made
        with: {{word: hello}}
      - run: echo "$SAID, $SET" > "$OUT/said"
        env: {{SAID: "${{{{ steps.made.outputs.said }}}}"}}
""",
    )
    assert code == 0
    assert (checkout / "said").read_text() == "hello, by the action\n"
    out = capsys.readouterr().out
    assert "NOT RUN: actions/cache/restore@0000" in out
    assert "What differs from GitHub:" in out
    assert f"passed in from this machine: OUT={checkout}" in out


def test_an_action_that_fails_fails_its_step(checkout: pathlib.Path) -> None:
    _with_action(checkout)
    code = _rehearse(
        checkout,
        f"""{ONE}
      - uses: $/.github/actions/made
        with: {{word: fail}}
      - run: touch "$OUT/after"
""",
    )
    assert code == 1
    assert not (checkout / "after").exists()


def test_variables_are_those_given_and_else_empty(checkout: pathlib.Path) -> None:
    workflow = f"""{ONE}
      - run: echo "<$A><$B>" > "$OUT/said"
        env: {{A: "${{{{ vars.A }}}}", B: "${{{{ vars.B }}}}"}}
"""
    assert _rehearse(checkout, workflow, "--var", "A=1") == 0
    assert (checkout / "said").read_text() == "<1><>\n"


@pytest.mark.parametrize(
    ("workflow", "named"),
    [
        ("jobs: [", "while parsing"),
        ("on: push", "it has no jobs"),
        ("jobs: {a: {needs: b, steps: []}, b: {needs: a, steps: []}}", "a, b need each other"),
        ("jobs: {a: {services: {}, steps: []}}", "job a has services"),
        ("jobs: {a: {strategy: {matrix: {include: []}}, steps: []}}", "the key include"),
        ("jobs: {a: {steps: [{run: 'true', pre: x}]}}", "the key pre of a step"),
        ("jobs: {a: {steps: [{name: x}]}}", "one of run and uses"),
        ("jobs: {a: {steps: [{run: 'true', shell: pwsh}]}}", "the shell pwsh"),
        ("jobs: {a: {steps: [{run: 'echo ${{ secrets.A }}'}]}}", "the context secrets"),
        ("jobs: {a: {if: 'toJSON(github)', steps: []}}", "the function toJSON"),
        ("jobs: {a: {steps: [{run: 'echo x > $GITHUB_ENV'}]}}", "'x', which is not NAME=VALUE"),
    ],
)
def test_what_is_not_known_is_refused_by_name(
    checkout: pathlib.Path, workflow: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _rehearse(checkout, workflow) == 2
    error = capsys.readouterr().err
    assert named in error
    assert "error: " in error


def test_a_job_in_a_container_needs_a_place(
    checkout: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout / "w.yml").write_text(
        "jobs: {a: {container: 'debian:12', steps: []}, b: {steps: []}}"
    )
    assert rehearsal.main([str(checkout / "w.yml"), "--job", "a"]) == 2
    assert "name --root FOLDER, or --here" in capsys.readouterr().err
    assert rehearsal.main([str(checkout / "w.yml"), "--job", "b"]) == 2
    assert "say --here" in capsys.readouterr().err
    assert rehearsal.main([str(checkout / "w.yml"), "--job", "c"]) == 2
    assert "there is no job c; there are a, b" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["pr", "images", "bazelisk", "nightly", "release"])
def test_every_workflow_of_this_repository_is_known(name: str) -> None:
    root = pathlib.Path(__file__).resolve().parents[2]
    made = rehearsal.Rehearsal(
        root, root / f".github/workflows/{name}.yml", None, {}, {}, {}, "push"
    )
    jobs = made.workflow()["jobs"]
    rehearsal.check(jobs, rehearsal.in_order(jobs, []), root=False, here=True)


def test_the_command_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        rehearsal.main(["--help"])
    assert ended.value.code == 0
    assert "It is not GitHub" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("container", "shell", "code"),
    [
        ("container: 'debian:12'", "", 1),
        ("container: 'debian:12'", "shell: bash", 0),
        ("timeout-minutes: 1", "", 0),
    ],
)
def test_without_a_word_a_container_has_sh_and_a_runner_bash(
    checkout: pathlib.Path, container: str, shell: str, code: int
) -> None:
    workflow = f"""
jobs:
  one:
    {container}
    steps:
      - run: '[[ a == a ]]'
        {shell}
"""
    assert _rehearse(checkout, workflow) == code
