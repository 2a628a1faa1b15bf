"""Images of a node: layouts, found by digest or name, verified and unpacked."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from retort.launch.cluster.node.containers.images import ImageMissing, Images

_LAYER = "application/vnd.oci.image.layer.v1.tar"
_PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": lambda content: content,
    "+gzip": gzip.compress,
    "+zstd": lambda content: zstandard.ZstdCompressor().compress(content),
}


def _layer(**files: str) -> bytes:
    """An archive: path (`__` for a slash) to text; a text that begins with `->` is a link."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            if text.startswith("->"):
                member.type, member.linkname = tarfile.SYMTYPE, text[2:]
            member.size = 0 if text.startswith("->") else len(text)
            member.mode = 0o755
            archive.addfile(member, io.BytesIO(text.encode()))
    return stream.getvalue()


def _layout(place: Path, *layers: bytes, packed: str = "") -> str:
    """Write a layout; its digest."""
    blobs = place / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(media_type: str, content: bytes) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    settings = {"Entrypoint": ["/bin/tool"], "Cmd": ["-v"], "Env": ["A=b=c"], "User": "65532:65532"}
    config = json.dumps({"config": {**settings, "WorkingDir": "/work"}}).encode()
    manifest = {
        "config": blob("application/vnd.oci.image.config.v1+json", config),
        "layers": [blob(_LAYER + packed, _PACKED[packed](layer)) for layer in layers],
    }
    media_type = "application/vnd.oci.image.manifest.v1+json"
    described = blob(media_type, json.dumps(manifest).encode())
    (place / "index.json").write_text(json.dumps({"manifests": [described]}))
    (place / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return str(described["digest"])


@pytest.mark.parametrize("packed", _PACKED)
def test_a_layout_is_unpacked_layer_upon_layer(tmp_path: Path, packed: str) -> None:
    digest = _layout(
        tmp_path / "layout",
        _layer(etc__old="1", etc__kept="2", bin__tool="3", var__a="4", sub__one="5"),
        _layer(**{"etc__.wh.old": "", "bin__tool": "6", "sub__.wh..wh..opq": "", "sub__two": "7"}),
        _layer(lib="->usr/lib"),
        packed=packed,
    )
    images = Images({"local/tool:1": tmp_path / "layout"}, tmp_path / "unpacked")
    image = images.get(f"elsewhere/any@{digest}")
    assert (image.entrypoint, image.arguments) == (("/bin/tool",), ("-v",))
    assert (image.environment, image.user, image.directory) == (
        {"A": "b=c"},
        "65532:65532",
        "/work",
    )
    assert image.digest == digest
    assert image.root is not None
    found = {
        str(path.relative_to(image.root)): path.read_text()
        for path in image.root.rglob("*")
        if path.is_file()
    }
    assert found == {"etc/kept": "2", "bin/tool": "6", "var/a": "4", "sub/two": "7"}
    assert (image.root / "lib").readlink() == Path("usr/lib")
    assert images.get("local/tool:1").root == image.root


def test_another_digest_is_not_this_image(tmp_path: Path) -> None:
    digest = _layout(tmp_path / "layout", _layer(a="1"))
    images = Images({"local/tool": tmp_path / "layout"}, tmp_path / "unpacked")
    with pytest.raises(ImageMissing, match=f"the layout of that name has {digest}"):
        images.get(f"local/tool@sha256:{'0' * 64}")
    with pytest.raises(ImageMissing, match="not found; name its layout"):
        images.get(f"local/other@sha256:{'0' * 64}")


@pytest.mark.parametrize("number", range(3))
def test_a_damaged_blob_is_not_used(tmp_path: Path, number: int) -> None:
    _layout(tmp_path / "layout", _layer(a="1"))
    blob = sorted((tmp_path / "layout" / "blobs" / "sha256").iterdir())[number]
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    images = Images({"local/tool": tmp_path / "layout"}, tmp_path / "unpacked")
    with pytest.raises(ImageMissing, match="is damaged; build the image again"):
        images.get("local/tool")
    assert not [path for path in (tmp_path / "unpacked").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "layer",
    [
        _layer(**{"..__outside": "1"}),
        _layer(link="->../..", link__outside="1"),
    ],
)
def test_nothing_is_written_outside_of_the_root(tmp_path: Path, layer: bytes) -> None:
    _layout(tmp_path / "layout", layer)
    images = Images({"local/tool": tmp_path / "layout"}, tmp_path / "unpacked" / "here")
    with pytest.raises(ImageMissing, match="cannot be unpacked"):
        images.get("local/tool")
    assert not list(tmp_path.rglob("outside"))


def test_a_program_stands_for_an_image_whatever_its_digest(tmp_path: Path) -> None:
    images = Images({"registry.example:5000/tool": Path("/bin/sh")}, tmp_path)
    for rest in (":1", f"@sha256:{'0' * 64}", ""):
        image = images.get(f"registry.example:5000/tool{rest}")
        assert (image.root, image.entrypoint) == (None, ("/bin/sh",))
