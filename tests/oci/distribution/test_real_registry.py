"""Against Debian's docker-registry, skopeo and podman, which a gate installs."""

import contextlib
import gzip
import io
import json
import pathlib
import re
import socket
import subprocess
import tarfile
import threading
from collections.abc import Iterator

import pytest

from tests.oci.distribution import tiny_layouts
from tests.oci.distribution.listed_referrers import referrers
from tools.oci import errors
from tools.oci.distribution import load, pull, push
from tools.oci.distribution.client import Registry, Retries
from tools.oci.distribution.referrers import Artifact, attach
from tools.oci.image import layout
from tools.oci.image.layout import Layout

REPOSITORY = "team/training"
USER, PASSWORD = "ann", "correct horse"
# bcrypt, the one hash that docker-registry takes.
HTPASSWD = f"{USER}:$2b$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2\n"


def layer(name: str, content: bytes) -> bytes:
    """A tar archive of one file."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


BASE = layer("base", tiny_layouts.noise(1, 40 << 20))
APP = layer("app", b"print(1)\n")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return tiny_layouts.write(tmp_path_factory.mktemp("image") / "image", [BASE, APP])


@contextlib.contextmanager
def docker_registry(directory: pathlib.Path, with_users: bool) -> Iterator[str]:
    """Debian's registry on a loopback port; gives `HOST:PORT`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    config = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(directory / "storage")}},
        "http": {"addr": host, "secret": "for tests"},
    }
    if with_users:
        (directory / "htpasswd").write_text(HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(directory / "htpasswd")}}
    (directory / "config.yml").write_text(json.dumps(config))  # which is YAML
    command = ["docker-registry", "serve", str(directory / "config.yml")]
    with (directory / "log").open("w") as log:
        serving = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            while not _answers(host):
                assert serving.poll() is None, (directory / "log").read_text()
            yield host
        finally:
            serving.terminate()
            serving.wait()


def _answers(host: str) -> bool:
    name, port = host.split(":")
    try:
        socket.create_connection((name, int(port))).close()
    except ConnectionRefusedError:
        return False
    return True


@contextlib.contextmanager
def cutting_proxy(target: str, cuts: list[int]) -> Iterator[str]:
    """A TCP proxy that hangs up after the bytes from the client that `cuts` says, one entry a cut.

    Requests without a large body are let through: only a connection that carries more than a cut's bytes is cut.
    """
    name, port = target.split(":")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def pump(source: socket.socket, drain: socket.socket, is_client: bool) -> None:
            carried = 0
            with contextlib.suppress(OSError):
                while block := source.recv(1 << 16):
                    carried += len(block)
                    if is_client and cuts and carried > cuts[0]:
                        cuts.pop(0)
                        break
                    drain.sendall(block)
            for each in (source, drain):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listening.accept()
                    server = socket.create_connection((name, int(port)))
                    for pair in ((client, server, True), (server, client, False)):
                        threading.Thread(target=pump, args=pair, daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture(params=[False, True], ids=["open", "htpasswd"])
def host(
    request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with docker_registry(tmp_path, with_users=request.param) as serving:
        if request.param:
            log_in = ["skopeo", "login", "--tls-verify=false", "--authfile", "auth.json"]
            log_in += ["--username", USER, "--password-stdin", serving]
            subprocess.run(log_in, input=PASSWORD, text=True, check=True, cwd=tmp_path)
            monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
        yield serving


@pytest.fixture
def open_host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with docker_registry(tmp_path, with_users=False) as serving:
        yield serving


def push_to(host: str, image: Layout, *tags: str, chunk_bytes: int | None = None) -> push.Pushed:
    retries = Retries(attempts=4, first_seconds=0.05)
    with Registry(host, actions="pull,push", retries=retries) as registry:
        return push.push(registry, REPOSITORY, image.path, tags=tags, chunk_bytes=chunk_bytes)


def skopeo(*arguments: str) -> str:
    done = subprocess.run(["skopeo", *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def test_a_digest_survives_the_way_there_and_back(
    host: str, image: Layout, tmp_path: pathlib.Path
) -> None:
    push.main([f"--layout={image.path}", f"--repository={host}/{REPOSITORY}", "--tag=v1"])
    for suffix in (":v1", f"@{image.image.digest}"):
        out = tmp_path / f"pulled{len(suffix)}"
        pull.main([f"{host}/{REPOSITORY}{suffix}", f"--out={out}"])
        pulled = Layout.open(out)
        assert pulled.image == image.image
        assert pulled.problems() == []


@pytest.mark.parametrize("chunk_bytes", [None, 5 << 20])
def test_only_what_changed_moves(
    host: str, image: Layout, tmp_path: pathlib.Path, chunk_bytes: int | None
) -> None:
    assert len(push_to(host, image, "v1", chunk_bytes=chunk_bytes).moved) == 3
    assert push_to(host, image, "v1").moved == ()
    changed = tiny_layouts.write(tmp_path / "changed", [BASE, layer("app", b"print(2)\n")])
    moved = push_to(host, changed, "v2").moved
    assert {blob.digest for blob in moved} == {blob.digest for blob in changed.blobs[1:]}


def test_skopeo_reads_what_was_pushed(host: str, image: Layout, tmp_path: pathlib.Path) -> None:
    push_to(host, image, "v1")
    source = f"docker://{host}/{REPOSITORY}:v1"
    described = json.loads(skopeo("inspect", "--tls-verify=false", source))
    assert described["Digest"] == image.image.digest
    skopeo(
        "copy", "--preserve-digests", "--src-tls-verify=false", source, f"oci:{tmp_path}/copied:v1"
    )
    assert Layout.open(tmp_path / "copied").image.digest == image.image.digest


@pytest.mark.parametrize("chunk_bytes", [None, 5 << 20])
def test_a_dropped_upload_ends_whole(
    open_host: str, image: Layout, tmp_path: pathlib.Path, chunk_bytes: int | None
) -> None:
    cuts = [11_000_000, 3_000_000]
    with cutting_proxy(open_host, cuts) as proxy:
        push_to(proxy, image, "v1", chunk_bytes=chunk_bytes)
    assert cuts == []
    out = tmp_path / "pulled"
    pull.main([f"{open_host}/{REPOSITORY}:v1", f"--out={out}"])
    assert Layout.open(out).problems() == []


def test_an_upload_that_is_dropped_every_time_fails_in_one_line(
    open_host: str, image: Layout, capfd: pytest.CaptureFixture[str]
) -> None:
    with cutting_proxy(open_host, [1_000_000] * 1000) as proxy, pytest.raises(SystemExit) as end:
        given = [f"--layout={image.path}", f"--repository={proxy}/{REPOSITORY}", "--tag=v1"]
        capfd.readouterr()
        errors.run(lambda: push.main([*given, "--attempts=2"]))
    assert end.value.code == 2
    lines = capfd.readouterr().err.splitlines()
    (line,) = [line for line in lines if not line.startswith("pushed ")]
    # A registry whose disk is busy may be given up before the proxy hangs up.
    assert re.match(r"error: (the connection to .* broke|.* did not answer)", line), line
    with Registry(open_host) as registry:
        assert registry.manifest(REPOSITORY, "v1") is None


@pytest.mark.parametrize("password", ["", "wrong"])
def test_wrong_credentials_are_one_line(
    image: Layout,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    password: str,
) -> None:
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with docker_registry(tmp_path, with_users=True) as host:
        auths = {host: {"username": USER, "password": password}} if password else {}
        (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
        given = [f"--layout={image.path}", f"--repository={host}/{REPOSITORY}"]
        with pytest.raises(SystemExit) as end:
            errors.run(lambda: push.main(given))
    assert end.value.code == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert ("refuses the credentials of ann" if password else "log in with") in line


def test_what_is_attached_is_found_without_a_referrers_api(open_host: str, image: Layout) -> None:
    push_to(open_host, image, "v1")
    with Registry(open_host, actions="pull,push") as registry:
        kinds = ["application/vnd.example.a", "application/vnd.example.b"]
        for kind in (*kinds, *kinds):
            attach(registry, REPOSITORY, image.image, Artifact(kind, kind, b"{}"))
        found = referrers(registry, REPOSITORY, image.image.digest)
    assert sorted(entry["artifactType"] for entry in found) == kinds


# Engines


def archive(image: Layout, tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "image.tar"
    load.main([f"--layout={image.path}", "--tag=localhost/training:dev", f"--archive={path}"])
    return path


@pytest.mark.parametrize("compression", ["", "+gzip"])
def test_skopeo_reads_the_archive_as_either_kind(tmp_path: pathlib.Path, compression: str) -> None:
    image = _compressed(tmp_path / "image", compression)
    path = archive(image, tmp_path)
    for kind in ("docker-archive", "oci-archive"):
        skopeo("copy", f"{kind}:{path}", f"dir:{tmp_path}/{kind}")
        manifest = json.loads((tmp_path / kind / "manifest.json").read_text())
        assert manifest["config"]["digest"] == image.blobs[-1].digest
    copied = (tmp_path / "oci-archive" / "manifest.json").read_bytes()
    assert layout.describe("", copied).digest == image.image.digest


@pytest.mark.parametrize("compression", ["", "+gzip"])
def test_podman_loads_the_image_by_its_name(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    monkeypatch.setenv("STORAGE_DRIVER", "vfs")
    conf = tmp_path / "storage.conf"
    conf.write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/root"\nrunroot = "{tmp_path}/run"\n'
    )
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(conf))
    image = _compressed(tmp_path / "image", compression)
    load.main([f"--layout={image.path}", "--tag=localhost/training:dev", "--engine=podman"])
    inspect = ["podman", "image", "inspect", "localhost/training:dev"]
    described = json.loads(subprocess.run(inspect, check=True, capture_output=True).stdout)
    assert described[0]["Id"] == image.blobs[-1].digest.removeprefix("sha256:")
    assert described[0]["RootFS"]["Layers"] == image.config["rootfs"]["diff_ids"]


def _compressed(path: pathlib.Path, compression: str) -> Layout:
    layers = [layer("base", tiny_layouts.noise(3, 1 << 20)), APP]
    plain = tiny_layouts.write(path.with_name("plain"), layers)
    if not compression:
        return plain
    config = layout.canonical_json(plain.config)
    packed = [gzip.compress(each, mtime=0) for each in layers]
    blobs = [layout.describe(layout.LAYER + compression, each) for each in packed]
    manifest = layout.canonical_json(
        {**plain.manifest, "layers": [blob.to_json() for blob in blobs]}
    )
    image = layout.describe(layout.MANIFEST, manifest)
    contents = dict(zip((blob.digest for blob in blobs), packed, strict=True))
    contents |= {plain.blobs[-1].digest: config, image.digest: manifest}
    layout.write_layout(path, image, {}, contents)
    return Layout.open(path)
