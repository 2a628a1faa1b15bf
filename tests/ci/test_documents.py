"""The documents' commands: found, run, and left to a gate only if that gate runs them; none is left out unseen."""

import pathlib
import re

import pytest

from tools.ci import documents

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


def _document(
    folder: pathlib.Path, block: str, more: str = "```text\na -> b\n```\n"
) -> pathlib.Path:
    path = folder / "README.md"
    path.write_text(f"Words.\n\n```sh\n{block}\n```\n\n{more}")
    return path


def test_a_command_that_fails_fails_the_run(tmp_path: pathlib.Path) -> None:
    assert documents.run([_document(tmp_path, "true\ntest 1 = 1")], tmp_path) == 0
    assert documents.run([_document(tmp_path, "false\ntrue")], tmp_path) == 1


def test_documents_run_beside_one_another_and_a_failure_starts_no_more_blocks(
    tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each of the two waits for a file that the other writes."""
    meeting = "touch {}; until [ -e {} ]; do sleep 0.05; done; echo {} met"
    texts = (
        [meeting.format("a", "b", "first"), "false", "touch late"],
        [meeting.format("b", "a", "second")],
    )
    paths = []
    for number, blocks in enumerate(texts):
        paths.append(tmp_path / f"{number}.md")
        paths[-1].write_text("\n".join(f"```sh\n{block}\n```" for block in blocks))
    assert documents.run(paths, tmp_path) == 1
    assert not (tmp_path / "late").exists()
    said = capfd.readouterr().err
    assert "first met" in said and "second met" in said
    assert "0.md:4: exit code 1 from:\nfalse" in said


def test_no_two_documents_serve_at_one_port() -> None:
    """They run beside one another; a server that takes what is free prints where."""
    ports: dict[str, set[str]] = {}
    for path in documents.documents(CHECKOUT):
        for gate in ("", "images"):
            for text in documents.scripts(path.read_text(), gate):
                for port in re.findall(r"127\.0\.0\.1:(\d+)", text):
                    ports.setdefault(port, set()).add(str(path))
    assert "8000" in ports
    assert all(len(readers) == 1 for readers in ports.values()), ports


def test_a_block_is_one_script(tmp_path: pathlib.Path) -> None:
    path = _document(tmp_path, "here=$PWD # where\n# a comment\ntouch \\\n  $here/made")
    assert documents.run([path], tmp_path) == 0
    assert (tmp_path / "made").exists()


def test_a_file_that_a_block_writes_is_written_as_it_stands(tmp_path: pathlib.Path) -> None:
    path = _document(tmp_path, "cat > made.yaml <<'END'\na:\n  - b   # why\n\n# c\nEND")
    assert documents.run([path], tmp_path) == 0
    assert (tmp_path / "made.yaml").read_text() == "a:\n  - b   # why\n\n# c\n"


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


@pytest.mark.parametrize(
    "block",
    [
        "```bash\ntrue\n```\n\n```bash\n./tools/bazel run //train\n```",
        "```\ndocker run image\n```",
        "```text\n./tools/bazel run //train\n```",
        "```text\nwords\ntools/ci/gate images\n```",
        "```console\n$ python3 -m thing\n```",
        "```shell\nRETORT_ENGINE=airgap ./tools/bazel test //x\n```",
        "~~~zsh\nkubectl apply -k k8s\n~~~",
        "1. First:\n\n   ```text\n   pip install thing\n   ```",
        "````text\n```sh\n./tools/bazel run //x\n```\n````",
        "```text\nbazel run //never/closed",
        "```sh imagse\ntrue\n```",
        "```python\n./tools/bazel run //x\n```",
    ],
)
def test_commands_that_are_fenced_otherwise_are_refused(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], block: str
) -> None:
    path = _document(tmp_path, "touch made", f"{block}\n")
    assert documents.run([path], tmp_path) == 1
    assert re.search(r"README\.md:\d+: (has commands: fence it|no gate)", capsys.readouterr().err)
    assert not (tmp_path / "made").exists()


def test_what_is_left_out_is_counted_and_listed_with_its_reason(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = (
        "```text needs docker\n# first\ndocker run image\n```\n\n```sh images\ntouch image\n```\n"
    )
    path = _document(tmp_path, "touch made", more)
    assert documents.run([path], tmp_path) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[-3:] == [
        "not run: README.md:7: docker run image (needs docker)",
        "not run: README.md:12: touch image (the gate images runs it)",
        "1 blocks of 1 documents ran, 2 with commands did not",
    ]
    assert not (tmp_path / "image").exists()
    assert documents.run([path], tmp_path, "images") == 0
    assert (tmp_path / "image").exists()


@pytest.mark.parametrize(
    "text",
    [
        "token store -> reader\nsource -> pieces -> read, hashed",
        "seal sha256:0 /home/you",
        "tokenizer.json   store.json (shards)",
        "data:\n  source: jsonl\n  files:\n    paths: [corpus/*.jsonl.gz]",
        'load("//tools/oci:defs.bzl", "oci_image")\n\noci_image(name = "image")',
    ],
)
def test_pictures_and_files_are_no_commands(text: str) -> None:
    (block,) = documents.blocks(f"```text\n{text}\n```\n")
    assert not block.has_commands()
    assert documents.problem(block) == ""


def test_every_command_of_our_documents_runs_or_says_why_not() -> None:
    for path in documents.documents(CHECKOUT):
        for block in documents.blocks(path.read_text()):
            assert documents.problem(block) == "", f"{path.name}:{block.line}"


@pytest.mark.parametrize(
    ("path", "gate"),
    [
        ("docs/data.md", ""),
        ("docs/images.md", "images"),
        ("docs/training.md", ""),
        ("examples/classifier/README.md", ""),
        ("examples/language_model/README.md", ""),
        ("examples/language_model/README.md", "images"),
    ],
)
def test_our_documents_have_commands_that_run(path: str, gate: str) -> None:
    assert CHECKOUT / path in documents.documents(CHECKOUT)
    assert documents.scripts((CHECKOUT / path).read_text(), gate)


def test_targets_are_found_in_the_text() -> None:
    text = (
        "See `//train:smoke`, `//serve -- --checkpoint DIR` and `a // b`; `//tools/quality:check`."
    )
    assert documents.labels(text) == ["//serve", "//tools/quality:check", "//train:smoke"]


def test_the_readme_has_its_two_commands_first() -> None:
    first = next(
        b for b in documents.blocks((CHECKOUT / "README.md").read_text()) if b.language == "sh"
    )
    assert first.commands() == ["./tools/bazel run //train:smoke", "./tools/bazel test //..."]


def test_the_example_of_images_is_the_one_that_is_built() -> None:
    text = (CHECKOUT / "docs/images.md").read_text()
    (example,) = [block.text for block in documents.blocks(text) if block.language == "python"]
    assert example == (CHECKOUT / "examples/language_model/BUILD.bazel").read_text()
