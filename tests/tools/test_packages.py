"""Packages: where they are looked for, what of the user's settings counts, and that neither changes their bytes."""

import functools
import hashlib
import http.server
import importlib.metadata
import io
import json
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from third_party.requirements import source_build
from third_party.requirements.locks import LOCKS
from third_party.requirements.pip import read_indexes

ROOT = Path(__file__).parents[2]
BASE = getattr(sys, "_base_executable", sys.executable)  # a virtual environment has no pip
WHEEL = "torch-1.0-py3-none-any.whl"


def _wheel(mark: str, name: str = "torch", more: dict[str, str] | None = None) -> bytes:
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}/__init__.py": f"mark = {mark!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **(more or {}),
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in files)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return buffer.getvalue()


GOOD = _wheel("good")
OTHER = _wheel("other")


@dataclass
class Index:
    """A simple index (PEP 503) on loopback."""

    folder: Path
    address: str
    asked: list[str] = field(default_factory=list)

    def add(self, name: str, content: bytes, distribution: str = "torch") -> None:
        """Offers a file, with its digest behind the link."""
        page = self.folder / distribution
        page.mkdir(exist_ok=True)
        (self.folder / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        with (page / "index.html").open("a") as file:
            file.write(f'<a href="/{name}#sha256={digest}">{name}</a>\n')


@pytest.fixture
def indexes(tmp_path: Path) -> Iterator[tuple[Index, Index]]:
    """The index of pip's settings, and the one that stands for PyTorch's."""
    servers = []
    made = []
    for name in ("own", "torch"):
        folder = tmp_path / f"index-{name}"
        folder.mkdir()
        asked: list[str] = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            requests = asked

            def log_message(self, *_: object) -> None:
                self.requests.append(self.path)

        handler = functools.partial(Handler, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        made.append(Index(folder, f"http://127.0.0.1:{server.server_port}", asked))
    yield made[0], made[1]
    for server in servers:
        server.shutdown()
        server.server_close()


@dataclass
class Machine:
    """A home with pip's settings, and what was fetched there."""

    home: Path
    environment: dict[str, str]
    script: Path = ROOT / "third_party/airgap/pypi/wheel.py"

    def fetch(
        self, content: bytes, index: str = "", name: str = "torch", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Has wheel.py fetch the bytes given, and nothing else, into `out`."""
        interpreter = self.home / "interpreter.json"
        interpreter.write_text("{}")
        arguments = [
            *(f"--distribution={name}", "--version=1.0", f"--interpreter={interpreter}"),
            *(f"--hash=sha256:{hashlib.sha256(content).hexdigest()}", f"--out={self.home / 'out'}"),
            *([f"--index={index}"] if index else []),
        ]
        return subprocess.run(
            [BASE, "-IB", str(self.script), *arguments],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def fetched(self, name: str = "torch") -> str:
        """The code that came."""
        return (self.home / "out/site-packages" / name / "__init__.py").read_text()


@pytest.fixture
def machine(tmp_path: Path, indexes: tuple[Index, Index]) -> Machine:
    """A machine whose pip knows one index."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "HOME": str(home),
        "PATH": "/usr/bin:/bin",
        "PIP_INDEX_URL": indexes[0].address,
        "PIP_RETRIES": "0",
        "XDG_CONFIG_DIRS": str(home / "nothing"),
    }
    return Machine(home, environment)


def _line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2
    (line,) = (line for line in done.stderr.splitlines() if not line.startswith("retort: "))
    assert line.startswith("error: ")
    return line


def test_pips_own_settings_are_asked_first(machine: Machine, indexes: tuple[Index, Index]) -> None:
    for index in indexes:
        index.add(WHEEL, GOOD)
    done = machine.fetch(GOOD, indexes[1].address)
    assert done.returncode == 0, done.stderr
    assert machine.fetched() == "mark = 'good'\n"
    assert indexes[1].asked == []


@pytest.mark.parametrize("own", ["none", "another version", "other bytes"])
def test_what_pips_own_settings_lack_comes_from_the_index_of_the_lock(
    machine: Machine, indexes: tuple[Index, Index], own: str
) -> None:
    if own == "another version":
        indexes[0].add("torch-0.9-py3-none-any.whl", OTHER)
    elif own == "other bytes":
        indexes[0].add(WHEEL, OTHER)
    indexes[1].add(WHEEL, GOOD)
    done = machine.fetch(GOOD, indexes[1].address)
    assert done.returncode == 0, done.stderr
    assert machine.fetched() == "mark = 'good'\n"


def test_a_variable_replaces_the_index_of_the_lock(
    machine: Machine, indexes: tuple[Index, Index]
) -> None:
    indexes[1].add(WHEEL, GOOD)
    nowhere = "http://127.0.0.1:9/whl"
    done = machine.fetch(GOOD, nowhere, RETORT_TORCH_INDEX=indexes[1].address)
    assert done.returncode == 0, done.stderr


def test_where_neither_has_it_one_line_says_what_was_asked_and_what_to_set(
    machine: Machine, indexes: tuple[Index, Index]
) -> None:
    line = _line(machine.fetch(GOOD, indexes[1].address))
    for said in (indexes[0].address, indexes[1].address, "RETORT_TORCH_INDEX", "torch==1.0"):
        assert said in line


def test_an_index_that_does_not_answer_is_named_with_the_reason(machine: Machine) -> None:
    line = _line(machine.fetch(GOOD, "http://127.0.0.1:9/whl"))
    assert "http://127.0.0.1:9/whl: " in line
    assert "refused" in line


def test_other_bytes_are_refused(machine: Machine, indexes: tuple[Index, Index]) -> None:
    indexes[1].add(WHEEL, OTHER)
    line = _line(machine.fetch(GOOD, indexes[1].address))
    assert "the bytes there are not those pinned" in line
    assert not (machine.home / "out").exists()


def test_without_an_index_in_the_lock_none_is_named(machine: Machine) -> None:
    assert "RETORT_TORCH_INDEX" not in _line(machine.fetch(GOOD))


def test_who_asks_no_index_is_taken_at_his_word(
    machine: Machine, indexes: tuple[Index, Index]
) -> None:
    indexes[1].add(WHEEL, GOOD)
    line = _line(machine.fetch(GOOD, indexes[1].address, PIP_NO_INDEX="1"))
    assert "no-index" in line
    assert indexes[1].asked == []
    named = {"PIP_NO_INDEX": "1", "RETORT_TORCH_INDEX": indexes[1].address}
    assert machine.fetch(GOOD, indexes[1].address, **named).returncode == 0


def test_a_folder_in_the_variables_place_is_refused(machine: Machine) -> None:
    line = _line(machine.fetch(GOOD, "http://127.0.0.1:9", RETORT_TORCH_INDEX="/opt/folder"))
    assert "RETORT_TORCH_INDEX is '/opt/folder'" in line
    assert "find-links" in line


def test_passwords_are_not_shown(machine: Machine, indexes: tuple[Index, Index]) -> None:
    own, other = (index.address.replace("//", "//me:hunter2@") for index in indexes)
    done = machine.fetch(GOOD, other, PIP_INDEX_URL=own)
    assert "hunter2" not in _line(done) + done.stdout + done.stderr


@pytest.mark.parametrize("where", ["variables", "file", "section"])
def test_only_where_to_look_is_taken_of_the_users_settings(
    machine: Machine, indexes: tuple[Index, Index], where: str
) -> None:
    indexes[0].add(WHEEL, GOOD)
    folder = str(machine.home / "no/such/folder")
    settings = {
        "cache-dir": folder,
        "constraint": f"{folder}/constraints.txt",
        "dry-run": "1",
        "isolated": "1",
        "log": f"{folder}/log",
        "no-binary": ":all:",
        "only-binary": "none",
        "pre": "1",
        "platform": "win32",
        "python": "/no/python",
        "quiet": "3",
        "require-hashes": "0",
        "require-virtualenv": "1",
        "requirement": f"{folder}/requirements.txt",
        "target": folder,
        "use-feature": "no-such-feature",
        "user": "1",
    }
    environment = {}
    if where == "variables":
        environment = {f"PIP_{key.upper().replace('-', '_')}": settings[key] for key in settings}
    else:
        section = "global" if where == "file" else "download"
        own = machine.home / ".config/pip/pip.conf"
        own.parent.mkdir(parents=True)
        lines = [f"{key} = {value}\n" for key, value in settings.items()]
        own.write_text(f"[{section}]\n" + "".join(lines))
    done = machine.fetch(GOOD, **environment)
    assert done.returncode == 0, done.stderr


def test_where_to_look_is_read_as_pip_reads_it(machine: Machine) -> None:
    for path, text in {
        ".pip/pip.conf": "[global]\nindex-url = http://a\nfind-links =\n  /one\n  /two\nretries = 1\n",
        ".config/pip/pip.conf": "[global]\nindex_url: http://b\n[download]\ntimeout = 7\npre = 1\n",
        "named.conf": "[global]\nproxy = http://p\ncert = /c\n",
    }.items():
        (machine.home / path).parent.mkdir(parents=True, exist_ok=True)
        (machine.home / path).write_text(text)
    environment = {k: v for k, v in machine.environment.items() if not k.startswith("PIP_")}
    code = (
        "import sys, json; sys.path.append(sys.argv[1]); from third_party.requirements import pip; "
    )
    code += "print(json.dumps(pip.settings()))"
    for more in ({}, {"PIP_CONFIG_FILE": str(machine.home / "named.conf")}, {"PIP_TIMEOUT": "9"}):
        run = functools.partial(
            subprocess.run, env=environment | more, capture_output=True, text=True, check=True
        )
        ours = json.loads(run([BASE, "-Ic", code, str(ROOT)]).stdout)
        said = run([BASE, "-m", "pip", "config", "list"]).stdout.splitlines()
        pips: dict[str, str] = {}  # sections in no order, variables last
        for line in sorted(
            said, key=lambda line: (line.startswith(":env:"), line.startswith("download"))
        ):
            key, _, value = line.partition("=")
            if not key.endswith(("pre", "config-file")):
                pips[key.rpartition(".")[2]] = value.strip("'").replace("\\n", "\n")
        assert ours == pips


@pytest.mark.parametrize("text", ["index-url = a\n", "[global\n", "[global]\nx = \xff\n"])
def test_a_broken_configuration_file_is_named(machine: Machine, text: str) -> None:
    path = machine.home / ".config/pip/pip.conf"
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode("latin-1"))
    assert str(path) in _line(machine.fetch(GOOD))


# --- what is published as source alone

BACKEND = """
import io, os, pathlib, zipfile
class _Backend:
    def build_wheel(self, directory, settings=None, metadata=None):
        seen = sorted(name for name in os.environ if name.startswith(("DS_", "PIP_", "CFLAGS")))
        info = "thing-1.0.dist-info"
        files = {
            "thing/__init__.py": f"seen = {seen!r}, {os.environ.get('MARK')!r}, {hash('a')}\\n",
            f"{info}/METADATA": "Metadata-Version: 2.1\\nName: thing\\nVersion: 1.0\\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        }
        files[f"{info}/RECORD"] = "".join(f"{path},,\\n" for path in files)
        name = "thing-1.0-py3-none-any.whl"
        with zipfile.ZipFile(pathlib.Path(directory, name), "w") as archive:
            for path, text in files.items():
                archive.writestr(zipfile.ZipInfo(path), text)
        return name
__legacy__ = _Backend()
build_wheel = __legacy__.build_wheel
"""


def _source() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in {
            "PKG-INFO": "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n",
            "setup.py": "raise SystemExit('setup.py ran')\n",
        }.items():
            member = tarfile.TarInfo(f"thing-1.0/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


SOURCE = _source()
DIGEST = "8" * 64


@pytest.fixture
def builder(machine: Machine, indexes: tuple[Index, Index], tmp_path: Path) -> Machine:
    """A machine whose wheel.py builds `thing` from source, with a small setuptools, to a digest that cannot be."""
    copy = tmp_path / "copy"
    for folder in ("third_party/requirements", "third_party/source_archives"):
        (copy / folder).mkdir(parents=True)
        for path in (ROOT / folder).glob("*.py"):
            shutil.copy(path, copy / folder)
    script = copy / "third_party/airgap/pypi/wheel.py"
    script.parent.mkdir(parents=True)
    shutil.copy(machine.script, script)
    tool = _wheel("", "setuptools", {"setuptools/build_meta.py": BACKEND})
    indexes[0].add("setuptools-1.0-py3-none-any.whl", tool, "setuptools")
    indexes[0].add("thing-1.0.tar.gz", SOURCE, "thing")
    _say_digest(copy, hashlib.sha256(tool).hexdigest(), DIGEST)
    return Machine(machine.home, machine.environment, script)


def _say_digest(copy: Path, setuptools: str, digest: str) -> None:
    recipe = {
        "environment": {"DS_BUILD_OPS": "0"},
        "setuptools": {"version": "1.0", "sha256": setuptools},
        "wheel_sha256": digest,
    }
    path = copy / "third_party/requirements/source_builds.json"
    path.write_text(json.dumps({"thing": recipe}))


def _build(builder: Machine, **environment: str) -> str:
    """The digest of what is built, as the refusal of a wrong one tells it."""
    line = _line(builder.fetch(SOURCE, name="thing", **environment))
    assert DIGEST in line
    return line.partition("with the digest ")[2].partition(",")[0]


def test_a_build_is_the_same_whatever_the_user_has_set(builder: Machine) -> None:
    plain = _build(builder)
    theirs = {
        "CFLAGS": "-O3",
        "DS_BUILD_OPS": "1",
        "DS_BUILD_STRING": "+x",
        "LC_ALL": "tr_TR.UTF-8",
        "MARK": "theirs",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PYTHONHASHSEED": "7",
        "SOURCE_DATE_EPOCH": "1",
        "TZ": "Asia/Kathmandu",
    }
    assert _build(builder, **theirs) == plain


def test_a_cached_wheel_is_not_taken(builder: Machine, tmp_path: Path) -> None:
    plain = _build(builder)
    backend = tmp_path / "backend"
    (backend / "setuptools").mkdir(parents=True)
    (backend / "setuptools/__init__.py").touch()
    (backend / "setuptools/build_meta.py").write_text(BACKEND)
    subprocess.run(
        [
            *(BASE, "-m", "pip", "wheel", "--no-deps", "--use-pep517", "--no-build-isolation"),
            *(f"--wheel-dir={tmp_path / 'planted'}", "thing==1.0"),
        ],
        env=builder.environment | {"MARK": "planted", "PYTHONPATH": str(backend)},
        capture_output=True,
        check=True,
    )
    assert list(builder.home.glob(".cache/pip/wheels/**/thing-1.0-*.whl"))
    assert _build(builder) == plain


def test_a_build_with_the_digest_that_is_checked_in_is_taken(builder: Machine) -> None:
    recipes = builder.script.parents[2] / "requirements/source_builds.json"
    recipes.write_text(recipes.read_text().replace(DIGEST, _build(builder)))
    done = builder.fetch(SOURCE, name="thing")
    assert done.returncode == 0, done.stderr
    assert builder.fetched("thing").startswith("seen = ['DS_BUILD_OPS'], None, ")


def test_a_build_that_fails_is_one_line(builder: Machine) -> None:
    line = _line(builder.fetch(SOURCE, name="thing", RETORT_TORCH_INDEX="", PIP_NO_INDEX="1"))
    assert "thing==1.0 cannot be fetched" in line


@pytest.mark.parametrize("name", sorted(source_build.recipes()))
def test_what_is_imported_here_was_built_to_the_digest_that_is_checked_in(name: str) -> None:
    """On every engine, whoever ran the build."""
    found = importlib.metadata.distribution(name)
    place = Path(str(found.locate_file("")))
    folders = [place / name, *place.glob(f"{name}-*.dist-info")]
    files = {
        path.relative_to(place).as_posix(): path.read_bytes()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert len(folders) == 2
    assert source_build.tree_digest(files) == source_build.recipes()[name]["tree_sha256"]


def test_the_index_of_torch_stands_in_the_header_of_the_lock_alone() -> None:
    for lock in LOCKS:
        text = (ROOT / f"third_party/requirements/{lock.name}.lock").read_text()
        assert list(read_indexes(text).values()) == list(lock.indexes)
    assert [index.distribution for index in LOCKS[0].indexes] == ["torch"]
