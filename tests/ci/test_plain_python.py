"""What is started with plain `python3`, before anything was built or where nothing is installed, needs no package.

The imports of each such program are followed through this repository's files, those inside functions and of the
processes that it starts with its own interpreter among them. An import of anything else is a finding.
"""

import ast
import pathlib
import re
import sys
from collections.abc import Iterator

import pytest

from tools.ci import documents
from tools.ci.gates import GATES

ROOT = pathlib.Path(__file__).resolve().parents[2]
# A file or `-m MODULE` behind an interpreter and its flags; `-c` and a list of packages to install are neither.
_STARTED = re.compile(
    r"\bpython3(?:\.\d+)?(?: -[A-Zb]+)* (?:(?P<file>[\w/-]+\.py)|-m (?P<module>[\w.]+))"
)
_LABEL = re.compile(r"//([\w/]+):(\w+\.py)\b")


def started(text: str) -> Iterator[str]:
    """The files that a script's text starts, from the checkout's root. pip is there wherever Python is."""
    for found in _STARTED.finditer(text):
        module = found["module"] or ""
        if module.partition(".")[0] not in {"pip", *sys.stdlib_module_names}:
            yield found["file"] or f"{module.replace('.', '/')}.py"


def entry_points() -> set[str]:
    """Every file that a workflow, gate, hook, script, Dockerfile, document or repository rule starts so."""
    texts = [" ".join(command) for gate in GATES for command in gate.commands]
    files = [*documents.documents(ROOT), ROOT / "docker/Dockerfile"]
    files += [*(ROOT / ".github").rglob("*.yml"), *(ROOT / ".devcontainer").iterdir()]
    found = set()
    for path in [*(ROOT / ".ci").iterdir(), *(ROOT / "tools").rglob("*")]:
        if not path.suffix and path.is_file():
            text = path.read_text(encoding="utf-8")
            if text.startswith("#!/usr/bin/env python3\n"):
                found.add(path.relative_to(ROOT).as_posix())
            elif text.startswith("#!"):
                files.append(path)
    texts += [path.read_text(encoding="utf-8") for path in files]
    for path in (ROOT / "third_party").rglob("*.bzl"):
        text = path.read_text(encoding="utf-8")
        if ".execute(" in text:
            found |= {"/".join(label.groups()) for label in _LABEL.finditer(text)}
    return found.union(*map(started, texts))


def _constants(tree: ast.AST) -> dict[str, str]:
    """The strings that have a name."""
    return {
        target.id: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


class Program:
    """A program's files, and what they import that is neither of the standard library nor a file here."""

    def __init__(self, root: pathlib.Path, file: str) -> None:
        self.findings: list[str] = []
        self.files: set[pathlib.Path] = set()
        self._folders = [root, root / "python", (root / file).parent]
        self._root = root
        self._read(root / file)

    def _read(self, path: pathlib.Path) -> None:
        if path not in self.files:
            self.files.add(path)
            self._follow(path.read_text(encoding="utf-8"), path.relative_to(self._root).as_posix())

    def _follow(self, code: str, where: str) -> None:
        tree = ast.parse(code)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._import(alias.name, where)
            elif isinstance(node, ast.ImportFrom):
                assert node.module and not node.level, f"{where}: an import that is relative"
                if self._import(node.module, where):
                    for alias in node.names:
                        self._open(f"{node.module}.{alias.name}")
            elif isinstance(node, ast.List | ast.Tuple):
                self._start(node.elts, _constants(tree), where)

    def _import(self, module: str, where: str) -> bool:
        """Whether it is of this repository; then it is read, with the packages above it."""
        parts = module.split(".")
        if parts[0] in sys.stdlib_module_names:
            return False
        known = [self._open(".".join(parts[: end + 1])) for end in range(len(parts))]
        if not all(known):
            self.findings.append(f"{where} imports {module}")
        return all(known)

    def _open(self, module: str) -> bool:
        for folder in self._folders:
            path = folder / module.replace(".", "/")
            for file in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
                if file.is_file():
                    self._read(file)
                    return True
            if path.is_dir():
                return True
        return False

    def _start(self, words: list[ast.expr], constants: dict[str, str], where: str) -> None:
        """Follows what a command with this interpreter in it starts."""
        names = [ast.unparse(word) for word in words]
        if "sys.executable" not in names:
            return
        said = [
            word.value if isinstance(word, ast.Constant) else constants.get(name)
            for word, name in zip(words, names, strict=True)
        ][names.index("sys.executable") + 1 :]
        while said and isinstance(said[0], str) and re.fullmatch("-[A-Z]", said[0]):
            del said[0]
        match said:
            case ["-m", str(module), *_]:
                self._import(module, where)
            case ["-c", str(code), *_]:
                self._follow(code, where)
            case _:
                self.findings.append(f"{where} starts a Python that cannot be followed: {names}")


@pytest.mark.parametrize("file", sorted(entry_points()))
def test_a_program_that_plain_python_starts_needs_no_package(file: str) -> None:
    assert Program(ROOT, file).findings == []


def test_programs_of_every_kind_of_caller_are_found() -> None:
    assert entry_points() >= {
        "tools/ci/workflows/images.py",  # a workflow's
        "tools/ci/workflows/settings.py",  # an action's
        "tools/ci/hermetic.py",  # a gate's
        "tools/ci/gate",  # a script with its interpreter in it
        "tools/ci/summary.py",  # of .ci/run
        "tools/oci/dockerfile/install_app.py",  # the Dockerfile's
        "third_party/airgap/pypi/wheel.py",  # repository rules'
        "third_party/debian/fetch.py",
        "benchmarks/build/main.py",  # a document's
    }


def test_what_a_program_starts_with_its_interpreter_is_followed() -> None:
    files = Program(ROOT, "tools/ci/workflows/images.py").files
    assert ROOT / "tools/oci/distribution/transport.py" in files


@pytest.mark.parametrize(
    ("program", "finding"),
    [
        ("import os, yaml", "tools/main.py imports yaml"),
        ("def late() -> None:\n    import yaml.nodes", "tools/main.py imports yaml.nodes"),
        ("from tools import helper", "tools/helper.py imports jinja2"),
        ("import tools.helper", "tools/helper.py imports jinja2"),
        ("import helper", "tools/helper.py imports jinja2"),
        ("from tools.gone import a", "tools/main.py imports tools.gone"),
        (
            "import sys\nC = [*'a', sys.executable, '-m', 'tools.helper']",
            "tools/helper.py imports jinja2",
        ),
        (
            "import sys\nA = 'import yaml'\nC = (sys.executable, '-I', '-c', A)",
            "tools/main.py imports yaml",
        ),
        (
            "import sys\nC = [sys.executable, '-m', f'tools.{C}']",
            "tools/main.py starts a Python that",
        ),
        ("from tools import fine\nimport email.message, fine", None),
    ],
)
def test_an_import_that_plain_python_cannot_do_is_found(
    tmp_path: pathlib.Path, program: str, finding: str | None
) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/helper.py").write_text("from jinja2 import Environment\n")
    (tmp_path / "tools/fine.py").write_text("import pathlib\n")
    (tmp_path / "tools/main.py").write_text(program)
    found = Program(tmp_path, "tools/main.py").findings
    assert [one.startswith(finding or "no finding") for one in found] == [True] * bool(finding)


def test_a_start_is_told_from_other_words() -> None:
    text = """
    run: python3 -IB tools/a.py --b c.py && python3.11 -m a.b x; python3 -m pip
    apt-get install python3 python3-pip; python3 -c 'c'
    """
    assert list(started(text)) == ["tools/a.py", "a/b.py"]
