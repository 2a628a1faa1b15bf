"""tools/ci/gate as a user meets it, and the count of tests at the end of CI."""

import dataclasses
import json
import pathlib
import subprocess

import pytest

from tools.ci import documents, gates, summary

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


def _gate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CHECKOUT / "tools/ci/gate", *arguments], capture_output=True, text=True, check=False
    )


def test_the_list_shows_every_gate_with_its_budget() -> None:
    listed = _gate("--list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == [
        "quality",
        "smoke",
        "locks",
        "manifests",
        "reproducibility",
        "tests",
        "build",
        "documents",
        "images",
    ]
    as_json = json.loads(_gate("--list", "--json").stdout)
    assert [int(line.split()[1]) for line in listed] == [row["budget_minutes"] for row in as_json]


def test_the_gates_of_the_night_are_listed_apart() -> None:
    by_night = json.loads(_gate("--list", "--nightly", "--json").stdout)
    assert [row["name"] for row in by_night] == ["long", "agnews", "imdb", "latest", "cuda"]


@pytest.mark.parametrize("failing", ["", "quality", "smoke", "tests", "images", "summary"])
def test_what_continuous_integration_runs_is_every_listed_gate(
    failing: str, tmp_path: pathlib.Path
) -> None:
    """The script itself, in a checkout whose gates only say that they ran."""
    names = [gate.name for gate in gates.GATES if not gate.nightly]
    programs = {
        "tools/bazel": "echo /nowhere",
        "tools/ci/gate": f"""
            if [ "$1" = --list ]; then printf '%s 1 words\\n' {" ".join(names)}; exit; fi
            echo "$1"; [ "$1" != "{failing}" ]""",
        ".ci/run": (CHECKOUT / ".ci/run").read_text(),
    }
    for name, text in programs.items():
        program = tmp_path / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    ending = tmp_path / "tools/ci/summary.py"
    ending.write_text(f"import sys\nprint('1 passed')\nsys.exit({int(failing == 'summary')})\n")
    done = subprocess.run([tmp_path / ".ci/run"], stdout=subprocess.PIPE, text=True, check=False)
    ran = done.stdout.split("\n")[:-2]
    assert ran == names
    assert done.stdout.endswith("1 passed\n")
    assert done.returncode == (1 if failing else 0)


def test_every_test_is_a_gate() -> None:
    commands = [command for gate in gates.GATES if not gate.nightly for command in gate.commands]
    assert ("./tools/bazel", "test", "//...") in commands


def test_a_gate_that_needs_a_program_of_debian_sees_to_it_first() -> None:
    first = {gate.name: gate.commands[0] for gate in gates.GATES}
    assert first["quality"] == ("python3", "tools/ci/programs.py", "npm")
    assert first["images"][:2] == ("python3", "tools/ci/programs.py")


def test_the_gate_of_documents_makes_what_their_commands_read() -> None:
    by_name = {gate.name: gate for gate in gates.GATES}
    scripts = documents.scripts((CHECKOUT / "README.md").read_text())
    assert any("runs/smoke/" in script for script in scripts)
    (smoke,) = by_name["smoke"].commands
    assert by_name["documents"].commands[0][-1].endswith(f"|| exec {' '.join(smoke)}")


@pytest.mark.parametrize("shards", [1, 2, 3, 4, 7])
def test_every_test_is_dealt_to_one_shard(shards: int) -> None:
    long = {f"//a:long{n}_test" for n in range(15)}
    short = {f"//b:short{n}_test" for n in range(142)}
    hands = [gates.deal(long, short, shard, shards) for shard in range(1, shards + 1)]
    assert sorted(label for hand in hands for label in hand) == sorted(long | short)
    for kind in (long, short):
        counts = [len(kind & set(hand)) for hand in hands]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nonsense",),
        ("quality", "--shard", "1/2"),
        *(
            ("tests", "--shard", shard)
            for shard in ("5/4", "0/4", "1/0", "1", "a/b", "-1/4", "1/4/4")
        ),
    ],
)
def test_a_gate_that_is_none_is_the_users_mistake(arguments: tuple[str, ...]) -> None:
    done = _gate(*arguments)
    assert done.returncode == 2
    assert "gate" in done.stderr


def _made(*commands: tuple[str, ...], budget: int = 1) -> gates.Gate:
    return gates.Gate("made", "made for this test", budget, commands)


def test_a_gate_stops_at_the_first_command_that_fails(tmp_path: pathlib.Path) -> None:
    after = tmp_path / "after"
    assert gates.run(_made(("true",), ("sh", "-c", "exit 3"), ("touch", str(after)))) == 3
    assert not after.exists()
    assert gates.run(_made(("true",), ("touch", str(after)))) == 0
    assert after.exists()


def test_a_gate_over_its_budget_warns(capfd: pytest.CaptureFixture[str]) -> None:
    assert gates.run(_made(("true",), budget=1)) == 0
    assert "budget" not in capfd.readouterr().err
    slow = gates.Gate("slow", "", 0, ())
    assert gates.run(slow) == 0
    assert "slow took 0.0 minutes; its budget is 0" in capfd.readouterr().err


def test_the_list_shows_how_long_a_gate_took_here_when_it_last_passed(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    gate = _made(("sh", "-c", "sleep 0.01"))

    def listed() -> str:
        assert gates.main(["--list"]) == 0
        return capsys.readouterr().out

    assert listed().count("not yet run here") == len(listed().splitlines())
    quality = dataclasses.replace(gate, name="quality")
    for other in (
        dataclasses.replace(quality, commands=(("false",),)),
        dataclasses.replace(quality, part=True),
    ):
        gates.run(other)
    assert "took" not in listed(), "of failed gates and of parts of one no time is kept"
    assert gates.run(quality) == 0
    assert "took  0.0 here, 20" in listed().splitlines()[0]
    (tmp_path / "retort" / "gates.json").write_text("half of a fi")
    assert "took" not in listed()
    assert gates.run(quality) == 0
    rows = json.loads(_gate("--list", "--json").stdout)
    assert [row["name"] for row in rows if row["measured"] is not None] == ["quality"]


def test_a_gate_without_an_end_fails() -> None:
    assert gates.run(_made(("sleep", "60"), budget=0)) == 1


@pytest.mark.parametrize(
    ("cases", "line", "code"),
    [
        ("<testcase/><testcase/>", "2 passed, 0 failed, 0 skipped", 0),
        ("<testcase/><testcase><failure/></testcase>", "1 passed, 1 failed, 0 skipped", 1),
        ("<testcase><error/></testcase>", "0 passed, 1 failed, 0 skipped", 1),
        ("<testcase/><testcase><skipped/></testcase>", "1 passed, 0 failed, 1 skipped", 0),
        ("", "0 passed, 0 failed, 0 skipped", 1),
    ],
)
def test_the_summary_counts_cases(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], cases: str, line: str, code: int
) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/test.xml").write_text(
        f"<testsuites><testsuite>{cases}</testsuite></testsuites>"
    )
    assert summary.main(str(tmp_path)) == code
    assert capsys.readouterr().out.strip() == line
