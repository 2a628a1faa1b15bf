"""The documents' commands: found, run, and left to a gate only if that gate runs them."""

import pathlib

from tools.ci import documents

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


def _document(folder: pathlib.Path, block: str) -> pathlib.Path:
    path = folder / "README.md"
    path.write_text(f"Words.\n\n```sh\n{block}\n```\n\n```text\nfalse\n```\n")
    return path


def test_a_command_that_fails_fails_the_run(tmp_path: pathlib.Path) -> None:
    assert documents.run([_document(tmp_path, "true\ntest 1 = 1")], tmp_path) == 0
    assert documents.run([_document(tmp_path, "false\ntrue")], tmp_path) == 1


def test_a_block_is_one_script(tmp_path: pathlib.Path) -> None:
    path = _document(tmp_path, "here=$PWD # where\n# a comment\ntouch \\\n  $here/made")
    assert documents.run([path], tmp_path) == 0
    assert (tmp_path / "made").exists()


def test_documents_with_nothing_to_run_do_not_pass(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("No command.\n")
    assert documents.run([path], tmp_path) == 1


def test_only_a_gates_own_command_is_left_to_it() -> None:
    assert documents.run_by_a_gate("./tools/bazel run //train:smoke")
    assert documents.run_by_a_gate("bazel test //...")
    assert documents.run_by_a_gate("tools/ci/gate reproducibility")
    assert not documents.run_by_a_gate("./tools/bazel run //train:smoke -- --json")
    assert not documents.run_by_a_gate("tools/ci/gate --list")
    assert not documents.run_by_a_gate("rm -rf runs")


def test_targets_are_found_in_the_text() -> None:
    text = (
        "See `//train:smoke`, `//serve -- --checkpoint DIR` and `a // b`; `//tools/quality:check`."
    )
    assert documents.labels(text) == ["//serve", "//tools/quality:check", "//train:smoke"]


def test_the_readme_has_its_two_commands_first() -> None:
    text = (CHECKOUT / "README.md").read_text()
    found = [
        command for block in documents._BLOCK.findall(text) for command in documents.commands(block)
    ]
    assert found[:2] == ["./tools/bazel run //train:smoke", "./tools/bazel test //..."]
