import json
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.oci.distribution import tiny_layouts
from tests.oci.distribution.registry_server import Fault, RegistryServer, Users
from tools.oci import errors
from tools.oci.distribution import pull, push, references
from tools.oci.distribution.client import Registry, Retries, Unavailable
from tools.oci.errors import ImageError
from tools.oci.image import layout
from tools.oci.image.layout import Descriptor, Layout

REPOSITORY = "team/training"
PASSWORD = "correct horse"
BASE, APP = tiny_layouts.noise(1, 3 << 20), tiny_layouts.noise(2, 5000)
RETRIES = Retries(attempts=3, first_seconds=0.01)
BLOB = "GET /v2/.*/blobs/"


@pytest.fixture(autouse=True)
def _no_credentials(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-docker"))


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer().serving() as serving:
        yield serving


@pytest.fixture
def image(server: RegistryServer, tmp_path: pathlib.Path) -> Layout:
    written = tiny_layouts.write(tmp_path / "pushed", [BASE, APP, b""])
    push_to(server, written, "v1")
    server.lines.clear()
    return written


@pytest.fixture
def out(tmp_path: pathlib.Path) -> pathlib.Path:
    """Where a layout is to appear, in a directory of its own."""
    return tmp_path / "place" / "pulled"


def push_to(server: RegistryServer, image: Layout, *tags: str) -> None:
    with Registry(server.host, actions="pull,push") as registry:
        push.push(registry, REPOSITORY, image.path, tags=tags)


def pull_from(
    server: RegistryServer, suffix: str, out: pathlib.Path, platform: str | None = None
) -> tuple[Descriptor, tuple[Descriptor, ...]]:
    reference = references.parse(f"{server.host}/{REPOSITORY}{suffix}")
    with Registry(server.host, retries=RETRIES) as registry:
        return pull.pull(registry, reference, out, platform)


def files(path: pathlib.Path) -> dict[str, bytes]:
    return {
        str(each.relative_to(path)): each.read_bytes() for each in path.rglob("*") if each.is_file()
    }


@pytest.mark.parametrize("by", ["tag", "digest", "both"])
def test_what_was_pushed_comes_back(
    server: RegistryServer, image: Layout, out: pathlib.Path, by: str
) -> None:
    suffix = {
        "tag": ":v1",
        "digest": f"@{image.image.digest}",
        "both": f":gone@{image.image.digest}",
    }[by]
    found, moved = pull_from(server, suffix, out)
    assert found == image.image
    assert len(moved) == 4
    assert files(out) == files(image.path)
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_broken_download_goes_on_where_it_broke(
    server: RegistryServer, image: Layout, out: pathlib.Path, attempts: int
) -> None:
    """Within one pull, and in the next pull where this one has no attempt left."""
    largest = image.layers[0].digest
    server.faults = [Fault(f"{BLOB}{largest}", cut_after=cut) for cut in (2_000_000, 1_000_000)]
    reference = references.parse(f"{server.host}/{REPOSITORY}:v1")
    failures = 0
    while not out.exists():
        with Registry(server.host, retries=Retries(attempts, 0.01)) as registry:
            try:
                pull.pull(registry, reference, out)
            except Unavailable as error:
                failures += 1
                assert "is kept for the next pull" in str(error)
    assert failures == (2 if attempts == 1 else 0)
    assert files(out) == files(image.path)
    assert server.count(f"{BLOB}{largest}") == 3
    sent = server.sent[largest]
    assert sent == [2_000_000, 1_000_000, len(BASE) - 3_000_000]
    assert list(out.parent.iterdir()) == [out]


def test_what_an_earlier_pull_left_damaged_is_fetched_again(
    server: RegistryServer, image: Layout, out: pathlib.Path
) -> None:
    largest = image.layers[0].digest
    server.faults = [Fault(f"{BLOB}{largest}", times=3, cut_after=1000)]
    reference = references.parse(f"{server.host}/{REPOSITORY}:v1")
    with pytest.raises(Unavailable), Registry(server.host, retries=Retries(1)) as registry:
        pull.pull(registry, reference, out)
    server.faults.clear()
    (kept,) = out.parent.rglob(f"{largest.removeprefix('sha256:')}.partial")
    kept.write_bytes(b"x" * 1000)
    pull_from(server, ":v1", out)
    assert files(out) == files(image.path)


@pytest.mark.parametrize("kept_bytes", [3 << 20, (3 << 20) + 7])
def test_a_kept_blob_that_is_full_and_wrong_is_fetched_again(
    server: RegistryServer, image: Layout, out: pathlib.Path, kept_bytes: int
) -> None:
    beside = out.with_name(f".{out.name}.{image.image.digest[7:19]}.partial")
    blobs = beside / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    name = image.layers[0].digest.removeprefix("sha256:")
    (blobs / f"{name}.partial").write_bytes(b"x" * kept_bytes)
    pull_from(server, ":v1", out)
    assert files(out) == files(image.path)


def test_a_redirected_download_takes_no_credentials_along(
    server: RegistryServer,
    image: Layout,
    out: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.users = Users("basic", {"ann": PASSWORD})
    auths = {server.host: {"username": "ann", "password": PASSWORD}}
    (tmp_path / "auth.json").write_text(json.dumps({"auths": auths}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    with RegistryServer(store=server.store).serving() as elsewhere:
        server.blobs_at = f"http://{elsewhere.host}"
        pull_from(server, ":v1", out)
        assert elsewhere.count(BLOB) == 3
        assert set(elsewhere.authorizations) == {None}
    assert files(out) == files(image.path)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_registry_is_asked_again(
    server: RegistryServer, image: Layout, out: pathlib.Path, status: int
) -> None:
    server.faults = [Fault(BLOB, times=2, status=status), Fault("GET .*/v1", status=status)]
    pull_from(server, ":v1", out)
    assert files(out) == files(image.path)


def test_an_index_gives_the_image_of_the_platform(
    server: RegistryServer, image: Layout, out: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    arm = tiny_layouts.write(tmp_path / "arm", [b"arm"], architecture="arm64")
    push_to(server, arm)
    index = tiny_layouts.index(
        [
            (image.image, "linux/amd64"),
            (arm.image, "linux/arm64/v8"),
            (layout.describe(layout.MANIFEST, b"no image"), "unknown/unknown"),
        ]
    )
    digest = layout.describe(layout.INDEX, index).digest
    server.store.manifests[REPOSITORY, digest] = (layout.INDEX, index)
    for platform, wanted in (("linux/amd64", image), ("linux/arm64", arm)):
        target = out.with_name(platform.replace("/", "-"))
        found, _ = pull_from(server, f"@{digest}", target, platform)
        assert found.digest == wanted.image.digest
        assert files(target) == files(wanted.path)
    for wrong in (None, "windows/amd64", "linux/arm"):
        with pytest.raises(ImageError, match="has images for linux/amd64, linux/arm64/v8: choose"):
            pull_from(server, f"@{digest}", out, wrong)


def test_a_plain_image_must_be_of_the_platform(
    server: RegistryServer, image: Layout, out: pathlib.Path
) -> None:
    with pytest.raises(ImageError, match="is for linux/amd64, not linux/arm64"):
        pull_from(server, ":v1", out, "linux/arm64")
    assert not list(out.parent.iterdir())
    pull_from(server, ":v1", out, "linux/amd64")
    assert files(out) == files(image.path)


# Failures


def _damaged_blob(server: RegistryServer, image: Layout) -> None:
    key = REPOSITORY, image.layers[0].digest
    server.store.blobs[key] = b"x" + server.store.blobs[key][1:]


def _long_blob(server: RegistryServer, image: Layout) -> None:
    key = REPOSITORY, image.blobs[-1].digest
    server.store.blobs[key] = b"x" + server.store.blobs[key]


def _damaged_manifest(server: RegistryServer, image: Layout) -> None:
    key = REPOSITORY, image.image.digest
    media_type, content = server.store.manifests[key]
    server.store.manifests[key] = (media_type, content + b" ")


def _no_blob(server: RegistryServer, image: Layout) -> None:
    del server.store.blobs[REPOSITORY, image.layers[1].digest]


def _no_image(server: RegistryServer, image: Layout) -> None:
    server.store.tags.clear()


def _no_manifest_at_all(server: RegistryServer, image: Layout) -> None:
    content = b"[]"
    digest = layout.describe(layout.MANIFEST, content).digest
    server.store.manifests[REPOSITORY, digest] = (layout.MANIFEST, content)
    server.store.tags[REPOSITORY, "v1"] = digest


def _wants_credentials(server: RegistryServer, image: Layout) -> None:
    server.users = Users("basic", {"ann": PASSWORD})


def _wants_a_token(server: RegistryServer, image: Layout) -> None:
    server.users = Users("bearer", {"ann": PASSWORD})


def _denies(server: RegistryServer, image: Layout) -> None:
    server.faults = [Fault(BLOB, times=99, status=403)]


def _is_broken(server: RegistryServer, image: Layout) -> None:
    server.faults = [Fault("GET", times=99, status=500)]


def _is_busy(server: RegistryServer, image: Layout) -> None:
    server.faults = [Fault("GET", times=99, status=429, headers={"Retry-After": "0"})]


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (_damaged_blob, "came with other content"),
        (_long_blob, "came with other content"),
        (_damaged_manifest, "came with other content"),
        (_no_blob, "answers 404 to GET: BLOB_UNKNOWN"),
        (_no_image, "has no such image"),
        (_no_manifest_at_all, "is no image"),
        (_wants_credentials, "wants credentials for team/training: log in"),
        (_wants_a_token, "wants credentials for team/training: log in"),
        (_denies, r"denies this \(403\)"),
        (_is_broken, r"answers 500.*tried 2 times"),
        (_is_busy, r"answers 429.*tried 2 times"),
    ],
)
def test_whatever_fails_is_one_line_and_leaves_nothing(
    server: RegistryServer,
    image: Layout,
    out: pathlib.Path,
    *,
    capfd: pytest.CaptureFixture[str],
    prepare: Callable[[RegistryServer, Layout], None],
    words: str,
) -> None:
    prepare(server, image)
    given = [f"{server.host}/{REPOSITORY}:v1", f"--out={out}", "--attempts=2"]
    capfd.readouterr()
    with pytest.raises(SystemExit) as exited:
        errors.run(lambda: pull.main(given))
    stdout, stderr = capfd.readouterr()
    assert exited.value.code == 2
    assert stdout == ""
    (line,) = [line for line in stderr.splitlines() if not line.startswith("pulled ")]
    assert re.fullmatch(rf"error: .*{words}.*", line)
    assert not out.exists()
    assert not out.parent.exists() or not list(out.parent.iterdir())


def test_what_is_there_is_not_overwritten(
    server: RegistryServer, image: Layout, out: pathlib.Path
) -> None:
    out.mkdir(parents=True)
    (out / "mine").write_text("mine")
    with pytest.raises(ImageError, match="is there already"):
        pull_from(server, ":v1", out)
    shutil.rmtree(out)
    out.mkdir()
    pull_from(server, ":v1", out)
    assert files(out) == files(image.path)


def test_the_last_line_says_what_was_pulled(
    server: RegistryServer,
    image: Layout,
    out: pathlib.Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    capfd.readouterr()
    pull.main([f"{server.host}/{REPOSITORY}:v1", f"--out={out}"])
    moved = sum(blob.size for blob in image.blobs)
    name = f"{server.host}/{REPOSITORY}@{image.image.digest}"
    assert capfd.readouterr().out == f"pulled {name} 4 blobs, {moved} bytes moved\n"
