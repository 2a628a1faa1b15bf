"""What a newcomer meets first: a README of a few screens, links that lead somewhere, one machine and one Python."""

import json
import pathlib
import re
from collections.abc import Iterator

import pytest

from tools.ci import documents

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
LINES = 150
SCREEN = 30
_LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)


def prose(text: str) -> str:
    """A document without its fenced blocks, line for line."""
    lines = text.splitlines()
    for block in documents.blocks(text):
        for number in range(block.line - 1, block.line + block.text.count("\n") + 1):
            lines[number : number + 1] = [""] * len(lines[number : number + 1])
    return "\n".join(lines)


def anchors(text: str) -> set[str]:
    """The fragments that GitHub gives a document's headings."""
    titles = re.findall(r"^#+ +(.*?) *$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken(path: pathlib.Path, root: pathlib.Path) -> Iterator[str]:
    """The links of a document that lead to no file of the checkout, or to no heading of it."""
    for target in _LINK.findall(_CODE.sub("", prose(path.read_text(encoding="utf-8")))):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        name, _, fragment = target.partition("#")
        file = path.parent / name if name else path
        if not file.exists() or not file.resolve().is_relative_to(root.resolve()):
            yield f"{path.name}: {target}: leads nowhere"
        elif fragment and fragment not in anchors(file.read_text(encoding="utf-8")):
            yield f"{path.name}: {target}: no such heading"


def test_links_that_lead_nowhere_are_found(tmp_path: pathlib.Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/there.md").write_text("# A title: two words\n\n```text\n# none\n```\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](docs/there.md) ![b](docs/gone.png) [c](docs/there.md#a-title-two-words)\n"
        "[d](docs/there.md#none) [e](https://example.org/gone) [f](docs) [g](../) [h](#gone)\n"
        "`[i](gone)`\n\n```text\n[j](gone)\n```\n"
    )
    assert list(broken(page, tmp_path)) == [
        "page.md: docs/gone.png: leads nowhere",
        "page.md: docs/there.md#none: no such heading",
        "page.md: ../: leads nowhere",
        "page.md: #gone: no such heading",
    ]


@pytest.mark.parametrize(
    "path", documents.documents(CHECKOUT), ids=lambda path: str(path.relative_to(CHECKOUT))
)
def test_links_between_the_documents_lead_somewhere(path: pathlib.Path) -> None:
    assert list(broken(path, CHECKOUT)) == []


def test_the_readme_is_a_few_screens() -> None:
    assert len((CHECKOUT / "README.md").read_text().splitlines()) <= LINES


def test_the_first_screen_has_two_commands_and_a_picture() -> None:
    screen = "\n".join((CHECKOUT / "README.md").read_text().splitlines()[:SCREEN])
    (commands,) = [block for block in documents.blocks(screen) if block.language == "sh"]
    assert len(commands.commands()) == 2
    assert "![" in screen


def test_the_devcontainer_is_the_machine_of_the_gates() -> None:
    container = json.loads((CHECKOUT / ".devcontainer/devcontainer.json").read_text())
    workflow = (CHECKOUT / ".github/workflows/pr.yml").read_text()
    assert set(re.findall(r"image: (\S+)", workflow)) == {container["image"]}
    (options,) = set(re.findall(r"options: (.*)", workflow))
    assert sorted(options.split()) == sorted(container["runArgs"])


def test_the_version_of_python_is_the_linters() -> None:
    version = (CHECKOUT / ".python-version").read_text().strip()
    assert f'python_version = "{version}"' in (CHECKOUT / "pyproject.toml").read_text()
