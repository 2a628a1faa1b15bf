"""Two images compared file by file."""

import gzip
import hashlib
import importlib.util
import io
import lzma
import marshal
import os
import pathlib
import tarfile
from collections.abc import Callable, Iterable

import pytest

from tests.oci.dockerfile.rootfs import Node, differences, from_directory, from_layout
from tools.oci.errors import ImageError
from tools.oci.image.layout import CONFIG, LAYER, MANIFEST, canonical_json, describe, write_layout

Member = tuple[str, bytes, int, str]  # name, type, mode, content or link target


def _layer(members: Iterable[Member], compression: str = "none") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, kind, mode, text in members:
            header = tarfile.TarInfo(name)
            header.type, header.mode = kind, mode
            if kind == tarfile.REGTYPE:
                header.size = len(text)
            else:
                header.linkname = text
            archive.addfile(header, io.BytesIO(text.encode()))
    return COMPRESSIONS[compression](stream.getvalue())


def _layout(path: pathlib.Path, *layers: bytes) -> pathlib.Path:
    config = canonical_json({"rootfs": {"type": "layers", "diff_ids": []}})
    described = [describe(LAYER, layer) for layer in layers]
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "config": describe(CONFIG, config).to_json(),
            "layers": [layer.to_json() for layer in described],
        }
    )
    contents = {one.digest: layer for one, layer in zip(described, layers, strict=True)}
    contents[describe(CONFIG, config).digest] = config
    image = describe(MANIFEST, manifest)
    write_layout(path, image, {}, contents | {image.digest: manifest})
    return path


def _file(name: str, text: str = "x", mode: int = 0o644) -> Member:
    return name, tarfile.REGTYPE, mode, text


def _directory(name: str, mode: int = 0o755) -> Member:
    return name, tarfile.DIRTYPE, mode, ""


def _symlink(name: str, target: str) -> Member:
    return name, tarfile.SYMTYPE, 0o777, target


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "xz": lzma.compress,
}
BASE = (_directory("opt"), _directory("opt/a"), _file("opt/a/f"), _symlink("opt/l", "a/f"))


@pytest.mark.parametrize("compression", ["none", "gzip", "xz"])
def test_a_layout_and_a_directory_with_the_same_files_do_not_differ(
    tmp_path: pathlib.Path, compression: str
) -> None:
    (tmp_path / "root/opt/a").mkdir(parents=True)
    for folder in ("root/opt", "root/opt/a"):
        (tmp_path / folder).chmod(0o755)
    (tmp_path / "root/opt/a/f").write_text("x")
    (tmp_path / "root/opt/a/f").chmod(0o644)
    (tmp_path / "root/opt/l").symlink_to("a/f")
    directory = from_directory(tmp_path / "root")
    layout = from_layout(_layout(tmp_path / "layout", _layer(BASE, compression)))
    assert set(directory) == {"opt", "opt/a", "opt/a/f", "opt/l"}
    assert differences(layout, directory) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda root: (root / "f").write_text("y"), "/f has different content"),
        (lambda root: (root / "f").chmod(0o755), "/f has the modes 0644 and 0755"),
        (lambda root: (root / "f").unlink(), "/f is only in the first"),
        (lambda root: (root / "g").mkdir(), "/g is only in the second"),
        (lambda root: (root / "d").chmod(0o700), "/d has the modes 0755 and 0700"),
        (
            lambda root: ((root / "l").unlink(), (root / "l").symlink_to("d")),
            "/l points to f and to d",
        ),
        (lambda root: ((root / "d").rmdir(), (root / "d").touch()), "/d is a directory and a file"),
    ],
)
def test_one_change_is_one_line(
    tmp_path: pathlib.Path, change: Callable[[pathlib.Path], object], line: str
) -> None:
    (tmp_path / "f").write_text("x")
    (tmp_path / "f").chmod(0o644)
    (tmp_path / "d").mkdir(mode=0o755)
    (tmp_path / "l").symlink_to("f")
    before = from_directory(tmp_path)
    change(tmp_path)
    assert differences(before, from_directory(tmp_path)) == [line]


def test_later_layers_replace_and_remove(tmp_path: pathlib.Path) -> None:
    second = (
        _file("opt/a/f", "new"),
        _file("opt/.wh.l", ""),
        _file("opt/b", "b"),
    )
    nodes = from_layout(_layout(tmp_path / "one", _layer(BASE), _layer(second)))
    assert set(nodes) == {"opt", "opt/a", "opt/a/f", "opt/b"}
    assert nodes["opt/a/f"].content == hashlib.sha256(b"new").hexdigest()
    opaque = (_file("opt/a/.wh..wh..opq", ""), _file("opt/a/g"))
    nodes = from_layout(_layout(tmp_path / "two", _layer(BASE), _layer(opaque)))
    assert set(nodes) == {"opt", "opt/a", "opt/a/g", "opt/l"}
    over = (_file("opt/a", "a file now"),)
    nodes = from_layout(_layout(tmp_path / "three", _layer(BASE), _layer(over)))
    assert set(nodes) == {"opt", "opt/a", "opt/l"}


def test_a_hard_link_is_the_file_it_names(tmp_path: pathlib.Path) -> None:
    members = (_file("f", "x", 0o755), ("g", tarfile.LNKTYPE, 0o755, "./f"))
    nodes = from_layout(_layout(tmp_path, _layer(members)))
    assert nodes["g"] == nodes["f"] == Node("file", 0o755, hashlib.sha256(b"x").hexdigest())


def test_names_with_a_leading_dot_or_slash_are_the_same_path(tmp_path: pathlib.Path) -> None:
    plain = from_layout(_layout(tmp_path / "one", _layer([_directory("opt"), _file("opt/f")])))
    dotted = from_layout(
        _layout(tmp_path / "two", _layer([_directory("./"), _directory("./opt"), _file("./opt/f")]))
    )
    assert differences(plain, dotted) == []


def test_only_what_lies_under_a_directory_is_read(tmp_path: pathlib.Path) -> None:
    members = (*BASE, _directory("opt/abc"), _file("opt/abc/f"), _file("top"))
    nodes = from_layout(_layout(tmp_path / "layout", _layer(members)), "opt/a")
    assert set(nodes) == {"opt/a", "opt/a/f"}
    (tmp_path / "root/opt/a").mkdir(parents=True)
    (tmp_path / "root/opt/a/f").touch()
    (tmp_path / "root/top").touch()
    assert set(from_directory(tmp_path / "root", "opt/a")) == {"opt/a", "opt/a/f"}


def _byte_code(source: str, name: str = "/a.py", flags: int = 1) -> bytes:
    code = marshal.dumps(compile(source, name, "exec"))
    digest = importlib.util.source_hash(source.encode())
    return importlib.util.MAGIC_NUMBER + flags.to_bytes(4, "little") + digest + code


def _compiled(folder: pathlib.Path, content: bytes) -> dict[str, Node]:
    folder.mkdir()
    path = folder / "a.pyc"
    path.write_bytes(content)
    path.chmod(0o644)
    return from_directory(folder)


def test_byte_code_that_shares_strings_otherwise_is_the_same(tmp_path: pathlib.Path) -> None:
    content = _byte_code("def f(a):\n    return a.some_name, a.some_name\n")
    code = content[:16] + marshal.dumps(marshal.loads(content[16:]), 2)
    assert code != content
    assert differences(_compiled(tmp_path / "a", content), _compiled(tmp_path / "b", code)) == []


@pytest.mark.parametrize(
    "other",
    [
        _byte_code("x = 2\n"),
        _byte_code("x = 1\n", name="/b.py"),
        _byte_code("x = 1\n", flags=3),
        _byte_code("x = 1\n")[:16] + b"damaged",
        b"",
    ],
)
def test_byte_code_that_does_something_else_differs(tmp_path: pathlib.Path, other: bytes) -> None:
    one = _compiled(tmp_path / "a", _byte_code("x = 1\n"))
    assert differences(one, _compiled(tmp_path / "b", other)) == ["/a.pyc has different content"]


def test_a_damaged_layer_is_an_error(tmp_path: pathlib.Path) -> None:
    layer = _layer([_file("f", "x" * 100_000)])
    path = _layout(tmp_path, layer)
    blob = path / "blobs/sha256" / hashlib.sha256(layer).hexdigest()
    os.truncate(blob, 50_000)
    with pytest.raises(ImageError, match=r"layer sha256:[0-9a-f]{64} cannot be read"):
        from_layout(path)
