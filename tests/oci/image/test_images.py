"""What the images of `//docker` hold, and what they must not."""

import ast
import collections
import csv
import pathlib
import re
import struct
import tarfile
from collections.abc import Iterator

import pytest

from tools.oci.image.layout import Layout

_DOCKER = pathlib.Path(__file__).parents[3] / "docker"
_IMAGES = ("base", "training_cpu", "inference_cpu")
_MEGABYTE = 1_000_000


@pytest.fixture(scope="module", params=_IMAGES)
def image(request: pytest.FixtureRequest) -> Layout:
    return Layout.open(_DOCKER / request.param)


def _members(image: Layout) -> list[tuple[str, tarfile.TarInfo]]:
    found = []
    for layer in image.layers:
        with tarfile.open(image.blob(layer.digest)) as archive:
            found += [(layer.annotations["org.retort.layer"], member) for member in archive]
    return found


@pytest.fixture(scope="module")
def members(image: Layout) -> list[tuple[str, tarfile.TarInfo]]:
    """(layer, member) of every layer."""
    return _members(image)


def test_every_blob_has_its_digest(image: Layout) -> None:
    assert image.problems() == []


def test_no_file_is_in_two_layers(members: list[tuple[str, tarfile.TarInfo]]) -> None:
    files = [member.name for _, member in members if not member.isdir()]
    assert [name for name, count in collections.Counter(files).items() if count > 1] == []


def test_no_shared_library_is_in_two_layers(image: Layout) -> None:
    """By name and size, wherever in the layer they lie: a copy would be moved and stored twice."""
    where: dict[tuple[str, int], set[str]] = collections.defaultdict(set)
    for layer in image.layers:
        name = layer.annotations["org.retort.layer"]
        with tarfile.open(image.blob(layer.digest)) as archive:
            for member in archive:
                if member.isfile() and re.search(r"\.so(\.\d+)*$", member.name):
                    key = (pathlib.PurePosixPath(member.name).name, member.size)
                    where[key].add(name)
    assert where
    assert [key for key, layers in where.items() if len(layers) > 1] == []


def test_no_file_can_be_written_or_changes_its_user(
    members: list[tuple[str, tarfile.TarInfo]],
) -> None:
    assert {(member.uid, member.gid) for _, member in members} == {(0, 0)}
    files = [member for _, member in members if member.isfile()]
    assert [member.name for member in files if member.mode & 0o6022] == []
    directories = [member for _, member in members if member.isdir()]
    open_to_all = {member.name for member in directories if member.mode & 0o022}
    assert open_to_all == {"tmp", "var/tmp"}


def test_no_shell_and_no_package_manager(members: list[tuple[str, tarfile.TarInfo]]) -> None:
    programs = {
        pathlib.PurePosixPath(member.name).name
        for _, member in members
        if re.fullmatch(r"(usr/)?s?bin/.+", member.name)
    }
    assert "python3.11" in programs
    assert not programs & {
        "sh",
        "bash",
        "dash",
        "busybox",
        "apt",
        "apt-get",
        "dpkg",
        "pip",
        "gcc",
        "cc",
    }


def test_nothing_of_the_builder_and_no_secret_is_inside(image: Layout) -> None:
    """By name, and by content in what is text or byte code."""
    names = re.compile(
        r"(^|/)(\.git|\.ssh|\.docker|\.netrc|\.pypirc|id_[a-z0-9]+|\.bash_history|\.cache|\.pytest_cache)(/|$)"
    )
    of_the_builder = re.compile(
        rb"bazel-out/|/execroot/|/sandbox/linux-sandbox/|/\.cache/(bazel|retort)|BEGIN (RSA|EC|OPENSSH) PRIVATE KEY"
    )
    # Documentation and tests of libraries show keys and paths as examples.
    examples = re.compile(r"/(tests?|examples|docs?)/|\.dist-info/|botocore/|certifi/")
    found = []
    for layer in image.layers:
        with tarfile.open(image.blob(layer.digest)) as archive:
            for member in archive:
                if names.search(member.name):
                    found.append(member.name)
                elif member.isfile() and member.name.endswith(
                    (".py", ".pyc", ".json", ".cfg", ".txt", ".pth")
                ):
                    reader = archive.extractfile(member)
                    assert reader is not None
                    if of_the_builder.search(reader.read()) and not examples.search(member.name):
                        found.append(member.name)
    assert found == []


def test_tests_and_headers_of_libraries_are_left_out_and_licences_are_not(
    members: list[tuple[str, tarfile.TarInfo]],
) -> None:
    site = "opt/retort/lib/python3.11/site-packages"
    names = [member.name for _, member in members if member.name.startswith(f"{site}/")]
    unwanted = re.compile(
        rf"{site}/((?![^/]+\.dist-info/)(.*/)?tests|torch/(include|test)|pyarrow/include)(/|$)"
    )
    assert [name for name in names if unwanted.match(name)] == []
    if names:
        assert [name for name in names if re.search(r"/torch-[^/]+\.dist-info/licenses/", name)]


def test_no_module_imports_what_was_left_out(image: Layout) -> None:
    """A wheel's RECORD still lists it, and so says what was there."""
    site = "opt/retort/lib/python3.11/site-packages/"
    found, listed, sources = set(), set(), {}
    for layer in image.layers:
        with tarfile.open(image.blob(layer.digest)) as archive:
            for member in archive:
                path = member.name.removeprefix(site)
                if not member.isfile() or path == member.name:
                    continue
                found.add(path)
                if path.endswith(".py") or re.fullmatch(r"[^/]+\.dist-info/RECORD", path):
                    reader = archive.extractfile(member)
                    assert reader is not None
                    content = reader.read()
                    if path.endswith(".py"):
                        sources[path] = content
                    else:
                        listed |= {row[0] for row in csv.reader(content.decode().splitlines())}
    absent = {_module(path) for path in listed - found if path.endswith(".py")}
    assert bool(absent) == bool(listed)
    missed = []
    for path, content in sources.items():
        if re.search(rb"\btests?\b", content):
            missed += [f"{path}: {name}" for name in _imported(path, content) if name in absent]
    assert missed == []


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imported(path: str, content: bytes) -> Iterator[str]:
    """The modules that a module imports when it is imported, and names that may be modules."""
    try:
        waiting: list[ast.AST] = [ast.parse(content)]
    except SyntaxError:
        return  # a template
    package = path.split("/")[:-1]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (module, *(f"{module}.{alias.name}" for alias in node.names))
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def test_every_python_file_has_byte_code_without_a_time(image: Layout) -> None:
    checked = 0
    for layer in image.layers:
        with tarfile.open(image.blob(layer.digest)) as archive:
            for member in archive:
                if member.name.endswith(".pyc"):
                    reader = archive.extractfile(member)
                    assert reader is not None
                    flags = int.from_bytes(reader.read(8)[4:], "little")
                    assert flags == 1, f"{member.name} is not hash-based and unchecked"
                    checked += 1
    assert checked > 500


def test_every_library_finds_what_it_is_linked_with(image: Layout) -> None:
    """Names of libraries that ELF files ask for, from the image itself, CUDA's driver apart."""
    asked, offered = set(), set()
    for layer in image.layers:
        with tarfile.open(image.blob(layer.digest)) as archive:
            for member in archive:
                name = pathlib.PurePosixPath(member.name).name
                if not re.search(r"\.so(\.|$)", name):
                    continue
                offered.add(name)
                reader = archive.extractfile(member) if member.isfile() else None
                if reader and member.name.startswith("usr/lib/"):
                    asked |= _needed(reader.read())
    assert asked
    # For a kind of network address that nothing here has, in a module that Python 3.13 drops.
    assert asked - offered <= {"libnsl.so.2", "libtirpc.so.3"}


def _needed(content: bytes) -> set[str]:
    """DT_NEEDED of a 64-bit little-endian ELF file (System V ABI, chapter 5)."""
    if content[:5] != b"\x7fELF\x02":
        return set()
    offset, size, count = (
        struct.unpack_from("<Q", content, 0x20)[0],
        *struct.unpack_from("<HH", content, 0x36),
    )
    segments = [struct.unpack_from("<IIQQQQQQ", content, offset + size * n) for n in range(count)]
    dynamic = next((segment for segment in segments if segment[0] == 2), None)
    if dynamic is None:
        return set()
    entries = [
        struct.unpack_from("<qQ", content, dynamic[2] + at) for at in range(0, dynamic[5], 16)
    ]
    table = next(value for tag, value in entries if tag == 5)
    load = next(s for s in segments if s[0] == 1 and s[3] <= table < s[3] + s[5])
    strings = table - load[3] + load[2]
    found = set()
    for tag, value in entries:
        if tag == 1:
            end = content.index(b"\0", strings + value)
            found.add(content[strings + value : end].decode())
    return found


def test_the_configuration_is_that_of_a_service(image: Layout) -> None:
    config = image.config["config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"][0] == "/opt/retort/bin/python3"
    assert {"HOME=/tmp", "LOGNAME=retort", "PYTHONDONTWRITEBYTECODE=1", "USER=retort"} <= set(
        config["Env"]
    )


def test_the_labels_say_what_it_is_and_name_no_commit(image: Layout) -> None:
    labels = image.config["config"]["Labels"]
    assert {name.removeprefix("org.opencontainers.image.") for name in labels} == {
        *("description", "licenses", "title")
    }
    licence = (pathlib.Path(__file__).parents[3] / "LICENSE").read_text().split()
    assert licence[:5] == ["Apache", "License", "Version", "2.0,", "January"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


@pytest.mark.parametrize(
    ("name", "directory"),
    [("base", "/"), ("training_cpu", "/runs"), ("inference_cpu", "/checkpoint")],
)
def test_a_program_starts_where_its_mount_is(name: str, directory: str) -> None:
    assert Layout.open(_DOCKER / name).config["config"]["WorkingDir"] == directory


@pytest.mark.parametrize("name", ["training_cpu", "inference_cpu"])
def test_the_application_is_the_last_layer_and_small(name: str) -> None:
    image = Layout.open(_DOCKER / name)
    application = image.layers[-1]
    assert application.annotations["org.retort.layer"].endswith("_app_cpu")
    assert application.size < 5 * _MEGABYTE
    assert len(image.layers) <= 12


def test_training_and_inference_share_their_big_layers() -> None:
    training, inference = (Layout.open(_DOCKER / name) for name in _IMAGES[1:])
    shared = {layer.digest for layer in training.layers} & {
        layer.digest for layer in inference.layers
    }
    sizes = {layer.digest: layer.size for layer in inference.layers}
    assert sum(sizes[digest] for digest in shared) > 0.95 * sum(sizes.values())


def test_inference_has_no_trainer_and_no_tests() -> None:
    names = [member.name for _, member in _members(Layout.open(_DOCKER / "inference_cpu"))]
    site = "opt/retort/lib/python3.11/site-packages"
    assert f"{site}/retort/serve/main.py" in names
    for absent in ("deepspeed", "retort/train", "retort/evaluate", "tests", "pip", "pytest"):
        assert f"{site}/{absent}" not in names
