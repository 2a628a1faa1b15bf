import hashlib
import json
import pathlib
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.oci.distribution import tiny_layouts
from tests.oci.distribution.registry_server import Fault, RegistryServer, Users
from tools.oci import errors
from tools.oci.distribution import push
from tools.oci.distribution.client import Registry, Retries
from tools.oci.distribution.push import Pushed
from tools.oci.errors import ImageError
from tools.oci.image.layout import Layout

REPOSITORY = "team/training"
PASSWORD = "correct horse"
BASE, APP = tiny_layouts.noise(1, 3 << 20), tiny_layouts.noise(2, 5000)
PATCH = "PATCH /v2/"


@pytest.fixture(autouse=True)
def _no_credentials(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-docker"))


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer().serving() as serving:
        yield serving


@pytest.fixture
def image(tmp_path: pathlib.Path) -> Layout:
    return tiny_layouts.write(tmp_path / "image", [BASE, APP])


def log_in(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, host: str, **entry: str
) -> None:
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"auths": {host: entry}}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(path))


def push_to(
    server: RegistryServer,
    image: Layout,
    *tags: str,
    chunk_bytes: int | None = None,
    attempts: int = 4,
) -> Pushed:
    retries = Retries(attempts=attempts, first_seconds=0.01)
    with Registry(server.host, actions="pull,push", retries=retries) as registry:
        return push.push(registry, REPOSITORY, image.path, tags=tags, chunk_bytes=chunk_bytes)


def assert_whole(server: RegistryServer, image: Layout, *tags: str) -> None:
    """The registry holds exactly what the layout does."""
    store = server.store
    for blob in image.blobs:
        content = store.blobs[REPOSITORY, blob.digest]
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == blob.digest
    stored = store.manifests[REPOSITORY, image.image.digest][1]
    assert stored == image.blob(image.image.digest).read_bytes()
    assert store.tags == {(REPOSITORY, tag): image.image.digest for tag in tags}
    assert not store.uploads


def test_what_is_pushed_is_what_the_layout_holds(server: RegistryServer, image: Layout) -> None:
    pushed = push_to(server, image, "v1", "latest")
    assert_whole(server, image, "v1", "latest")
    assert pushed.image == image.image
    assert {blob.digest for blob in pushed.moved} == {blob.digest for blob in image.blobs}
    assert pushed.bytes_moved == sum(blob.size for blob in image.blobs)


def test_the_second_push_moves_nothing(server: RegistryServer, image: Layout) -> None:
    push_to(server, image)
    before = server.count("POST|PATCH|PUT .*blobs")
    assert push_to(server, image, "again").moved == ()
    assert server.count("POST|PATCH|PUT .*blobs") == before
    assert_whole(server, image, "again")


def test_other_code_moves_its_layer_and_the_configuration_alone(
    server: RegistryServer, image: Layout, tmp_path: pathlib.Path
) -> None:
    push_to(server, image, "app")
    changed = tiny_layouts.write(tmp_path / "changed", [BASE, APP + b"!"])
    pushed = push_to(server, changed, "app")
    assert {blob.digest for blob in pushed.moved} == {blob.digest for blob in changed.blobs[1:]}
    assert pushed.bytes_moved < 10_000
    assert_whole(server, changed, "app")


def test_tags_come_last(server: RegistryServer, image: Layout) -> None:
    push_to(server, image, "v1")
    stored = [line for line in server.lines if line.startswith("PUT")]
    assert stored[-1].endswith("/manifests/v1")
    assert stored[-2].endswith(f"/manifests/{image.image.digest}")


def test_a_layer_that_is_there_twice_is_moved_once(
    server: RegistryServer, tmp_path: pathlib.Path
) -> None:
    image = tiny_layouts.write(tmp_path / "twice", [APP, APP, b""])
    assert len(push_to(server, image).moved) == 3
    assert_whole(server, image)


@pytest.mark.parametrize("least", [None, 700_000])
def test_chunks_are_of_the_size_that_was_asked_for_or_the_registry_wants(
    server: RegistryServer, image: Layout, least: int | None
) -> None:
    server.least_chunk = least
    push_to(server, image, chunk_bytes=300_000)
    wanted = least or 300_000
    sizes = [size for size in server.patches if size > len(APP)]
    assert sizes[:-1] == [wanted] * (len(BASE) // wanted)
    assert sum(sizes) == len(BASE)
    assert_whole(server, image)


def test_without_a_bound_a_blob_goes_in_one_request(server: RegistryServer, image: Layout) -> None:
    push_to(server, image)
    assert sorted(server.patches, reverse=True)[0] == len(BASE)
    assert len(server.patches) == len(image.blobs)


def test_a_broken_upload_goes_on_where_the_registry_says(
    server: RegistryServer, image: Layout
) -> None:
    cuts = (1_000_000, 700_000, 1, 0)
    server.faults = [Fault(PATCH, cut_after=cut) for cut in cuts]
    alone = tiny_layouts.write(image.path.parent / "alone", [BASE])
    push_to(server, alone)
    assert_whole(server, alone)
    large = [size for size in server.patches if size > 10_000]
    assert len(large) <= len(cuts) + 1
    assert sum(large) > len(BASE)
    assert min(large) < len(BASE), "nothing went on from an offset"
    assert server.count("GET .*blobs/uploads") == len(cuts)


def test_a_registry_that_takes_a_part_is_sent_the_rest(
    server: RegistryServer, image: Layout
) -> None:
    server.accepts = 1 << 20
    push_to(server, image)
    assert_whole(server, image)
    assert [size for size in server.patches if size > len(APP)] == [3 << 20, 2 << 20, 1 << 20]


def test_an_upload_that_the_registry_forgot_begins_anew(
    server: RegistryServer, image: Layout
) -> None:
    server.forgets_uploads = True
    server.faults = [Fault(PATCH, cut_after=2000), Fault(PATCH, cut_after=2000)]
    push_to(server, image)
    assert_whole(server, image)
    assert server.count("POST") == len(image.blobs) + 2


@pytest.mark.parametrize(
    "line", ["POST", "PATCH", "PUT .*uploads", "PUT .*manifests/sha256", "PUT .*/v1"]
)
def test_an_answer_that_was_lost_costs_no_more_than_a_question(
    server: RegistryServer, image: Layout, line: str
) -> None:
    server.faults = [Fault(line, lose_answer=True)]
    push_to(server, image, "v1")
    server.store.uploads.clear() if line == "POST" else None  # nobody was told where that one is
    assert_whole(server, image, "v1")
    assert sum(server.patches) == sum(blob.size for blob in image.blobs)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize(
    "line", ["HEAD", "POST", "PATCH", "PUT .*uploads", "GET .*manifests", "PUT .*/v1"]
)
def test_a_busy_registry_is_asked_again(
    server: RegistryServer, image: Layout, line: str, status: int
) -> None:
    server.faults = [Fault(line, times=2, status=status)]
    push_to(server, image, "v1")
    assert_whole(server, image, "v1")


def test_the_registrys_own_pause_is_kept(
    server: RegistryServer, image: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("tools.oci.distribution.client.time.sleep", pauses.append)
    past = "Wed, 21 Oct 2015 07:28:00 GMT"
    for line, after in (("PUT .*/v1", "7"), ("PUT .*/v1", past), ("PUT .*/v1", "soon")):
        server.faults.append(Fault(line, status=429, headers={"Retry-After": after}))
    push_to(server, image, "v1")
    assert pauses == [7, 0.02, 0.04]
    server.faults = [Fault("PUT .*/v2$", status=429, headers={"Retry-After": "3600"})]
    with pytest.raises(ImageError, match="asks to wait 3600 s"):
        push_to(server, image, "v2")
    assert len(pauses) == 3


# Rights


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
def test_credentials_are_shown_when_asked_for(
    server: RegistryServer,
    image: Layout,
    scheme: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.users = Users(scheme, {"ann": PASSWORD})
    log_in(tmp_path, monkeypatch, server.host, username="ann", password=PASSWORD)
    push_to(server, image, "v1")
    assert_whole(server, image, "v1")
    assert server.count(r"GET /token\?") == (scheme == "bearer")


def test_an_identity_token_becomes_an_access_token(
    server: RegistryServer,
    image: Layout,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.users = Users("bearer", {"ann": PASSWORD})
    log_in(tmp_path, monkeypatch, server.host, identitytoken="refresh-ann")
    push_to(server, image, "v1")
    assert_whole(server, image, "v1")
    assert server.count("POST /token$") == 1


def test_a_token_that_ran_out_is_renewed_even_within_a_blob(
    server: RegistryServer,
    image: Layout,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.users = Users("bearer", {"ann": PASSWORD})
    log_in(tmp_path, monkeypatch, server.host, username="ann", password=PASSWORD)
    server.faults = [Fault(f"PATCH .*step={step}", expire=True) for step in (2, 7)]
    push_to(server, image, "v1", chunk_bytes=200_000)
    assert_whole(server, image, "v1")
    # Uploads run side by side: one renewal may serve two of them, or each may ask for its own.
    assert 2 <= server.count(r"GET /token\?") <= 5
    # A POST that came while no token held was refused, and began none.
    assert len(server.store.steps) == len(image.blobs), "an upload began anew"


def _stranger(server: RegistryServer) -> None:
    server.users = Users("basic", {"bob": "x"})


def _stranger_to_tokens(server: RegistryServer) -> None:
    server.users = Users("bearer", {"bob": "x"})


def _reader(server: RegistryServer) -> None:
    server.users = Users("basic", {"ann": PASSWORD}, readers=("ann",))


def _faults(line: str, status: int) -> Callable[[RegistryServer], None]:
    def prepare(server: RegistryServer) -> None:
        server.faults = [Fault(line, times=1000, status=status)]

    return prepare


def _cuts(server: RegistryServer) -> None:
    server.forgets_uploads = True
    server.faults = [Fault(PATCH, times=1000, cut_after=10)]


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (_stranger, "refuses the credentials of ann"),
        (_stranger_to_tokens, "refuses the credentials of ann"),
        (_reader, r"denies this \(403\): DENIED: requested access is denied"),
        (_faults("PATCH", 403), r"denies this \(403\)"),
        (_faults("POST", 500), "answers 500"),
        (_faults("PUT .*uploads", 503), r"answers 503.*tried 2 times"),
        (_faults("POST", 429), "answers 429"),
        (_faults("PATCH", 413), "answers 413 to PATCH: FAULT: as told"),
        (_faults("PUT .*manifests", 400), "answers 400 to PUT"),
        (_faults("GET .*manifests", 404), "does not give it back"),
        (_cuts, "the connection to .* broke"),
    ],
)
def test_whatever_fails_is_one_line_and_moves_no_tag(
    server: RegistryServer,
    image: Layout,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    capfd: pytest.CaptureFixture[str],
    prepare: Callable[[RegistryServer], None],
    words: str,
) -> None:
    before = tiny_layouts.write(tmp_path / "before", [b"before"])
    push_to(server, before, "v1")
    log_in(tmp_path, monkeypatch, server.host, username="ann", password=PASSWORD)
    prepare(server)
    error = fail(capfd, image, server.host, "--attempts=2", "--tag=v1")
    assert re.search(words, error)
    assert server.store.tags == {(REPOSITORY, "v1"): before.image.digest}


def fail(capfd: pytest.CaptureFixture[str], image: Layout, host: str, *arguments: str) -> str:
    """The one line of a push that ends with exit code 2."""
    given = [f"--layout={image.path}", f"--repository={host}/{REPOSITORY}", *arguments]
    capfd.readouterr()
    with pytest.raises(SystemExit) as exited:
        errors.run(lambda: push.main(given))
    out, err = capfd.readouterr()
    assert exited.value.code == 2
    assert out == ""
    lines = [line for line in err.splitlines() if not line.startswith("pushed ")]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert PASSWORD not in err
    return lines[0]


def test_a_registry_that_is_not_there_is_named(
    image: Layout, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        assert f"cannot connect to {host}" in fail(capfd, image, host, "--attempts=1")
    unknown = fail(capfd, image, "registry.invalid", "--attempts=1")
    assert "cannot find the host of registry.invalid" in unknown


def test_a_name_without_a_host_is_refused(image: Layout, capfd: pytest.CaptureFixture[str]) -> None:
    assert "has no registry" in fail(capfd, image, "retort")
    assert "no repository" in fail(capfd, image, "registry.test/UPPER")
    assert "no tag" in fail(capfd, image, "registry.test", "--tag=a/b")


def _other_byte(path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()
    path.write_bytes(content)


def _shorter(path: pathlib.Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1])


@pytest.mark.parametrize("damage", [_other_byte, _shorter, pathlib.Path.unlink])
@pytest.mark.parametrize("which", [0, 1, 2, 3])
@pytest.mark.parametrize("is_known", [False, True])
def test_a_damaged_layout_is_refused_whether_its_blobs_would_move_or_not(
    server: RegistryServer,
    image: Layout,
    *,
    capfd: pytest.CaptureFixture[str],
    damage: Callable[[pathlib.Path], None],
    which: int,
    is_known: bool,
) -> None:
    if is_known:
        push_to(server, image)
    damaged = (*image.blobs, image.image)[which].digest
    damage(image.blob(damaged))
    error = fail(capfd, image, server.host, "--tag=v1")
    assert damaged.removeprefix("sha256:") in error
    assert not server.store.tags
    assert is_known or (REPOSITORY, damaged) not in server.store.blobs
    assert not server.store.uploads


def test_a_truncated_layout_is_refused(
    server: RegistryServer, image: Layout, capfd: pytest.CaptureFixture[str]
) -> None:
    index = image.path / "index.json"
    index.write_bytes(index.read_bytes()[:-5])
    assert "is not an image layout" in fail(capfd, image, server.host, "--tag=v1")
    index.unlink()
    assert "is not an image layout" in fail(capfd, image, server.host, "--tag=v1")
    assert not server.lines


def test_the_last_line_says_what_was_pushed(
    server: RegistryServer, image: Layout, capfd: pytest.CaptureFixture[str]
) -> None:
    given = [f"--layout={image.path}", f"--repository={server.host}/{REPOSITORY}", "--tag=v1"]
    push.main(given)
    out, err = capfd.readouterr()
    name = f"{server.host}/{REPOSITORY}@{image.image.digest}"
    moved = sum(blob.size for blob in image.blobs)
    assert out.splitlines()[-1] == f"pushed {name} 3 blobs, {moved} bytes moved"
    assert len(err.splitlines()) == 3
    assert "\r" not in err
    push.main([*given, "--json"])
    line = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert line["image"] == name
    assert (line["blobs_moved"], line["bytes_moved"], line["tags"]) == (0, 0, ["v1"])
    assert line["bytes"] == moved


def test_a_push_needs_no_package_as_the_job_with_the_right_to_write_has_none() -> None:
    checkout = str(pathlib.Path(push.__file__).parents[3])
    alone = f"import sys; sys.path.insert(0, {checkout!r}); import tools.oci.distribution.push"
    subprocess.run([sys.executable, "-I", "-S", "-c", alone], check=True)
