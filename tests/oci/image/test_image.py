"""Images out of layers: what must hold between layers, and that a layout says what it holds."""

import json
import pathlib

import pytest

from tools.oci.errors import ImageError
from tools.oci.image import build_image
from tools.oci.image.image import Layer, check_entrypoint, merged, resolve
from tools.oci.image.layout import Layout
from tools.oci.layers import layer
from tools.oci.layers.layer import Entry, Package, Tree

_SETTINGS = {
    "annotations": {},
    "architecture": "amd64",
    "cmd": ["--help"],
    "entrypoint": ["/usr/bin/program"],
    "env": {"PATH": "/bin:/usr/bin", "A": "1"},
    "exposed_ports": ["8080/tcp"],
    "labels": {"title": "small"},
    "os": "linux",
    "stop_signal": "",
    "user": "65532:65532",
    "variant": "",
    "volumes": [],
    "workdir": "/tmp",
}
_PROGRAM = layer.file("usr/bin/program", b"\x7fELF", executable=True)


def _layer(
    folder: pathlib.Path, name: str, *entries: Entry, packages: tuple[Package, ...] = ()
) -> Layer:
    tar, index = folder / f"{name}.tar", folder / f"{name}.json"
    layer.write_layer(name, Tree(layer.canonical(entries), list(packages)), tar, index)
    return Layer.read(tar, index)


def _build(folder: pathlib.Path, layers: list[Layer], **changes: object) -> Layout:
    (folder / "settings.json").write_text(json.dumps(_SETTINGS | changes))
    out = folder / "image"
    arguments = [
        "--name=small",
        f"--settings={folder / 'settings.json'}",
        f"--layout={out}",
        f"--digest={folder / 'digest'}",
        f"--contents={folder / 'contents.json'}",
    ]
    arguments += [f"--layer={one.blob}\t{one.blob.with_suffix('.json')}\t" for one in layers]
    build_image.main(arguments)
    return Layout.open(out)


def test_a_layout_holds_what_was_asked_for(tmp_path: pathlib.Path) -> None:
    layers = [
        _layer(tmp_path, "low", _PROGRAM),
        _layer(tmp_path, "app", layer.file("opt/app.py", b"print()")),
    ]
    image = _build(tmp_path, layers)
    assert image.problems() == []
    assert (tmp_path / "digest").read_text() == f"{image.image.digest}\n"
    assert image.config["architecture"] == "amd64"
    assert image.config["config"] == {
        "Cmd": ["--help"],
        "Entrypoint": ["/usr/bin/program"],
        "Env": ["A=1", "PATH=/bin:/usr/bin"],
        "ExposedPorts": {"8080/tcp": {}},
        "Labels": {"title": "small"},
        "User": "65532:65532",
        "WorkingDir": "/tmp",
    }
    assert image.config["rootfs"]["diff_ids"] == [one.index["diff_id"] for one in layers]
    assert [one.annotations["org.retort.layer"] for one in image.layers] == ["low", "app"]


def test_a_damaged_blob_is_named(tmp_path: pathlib.Path) -> None:
    image = _build(tmp_path, [_layer(tmp_path, "low", _PROGRAM)])
    blob = image.blob(image.layers[0].digest)
    content = blob.read_bytes()
    blob.unlink()
    blob.write_bytes(b"x" + content[1:])
    assert image.problems() == [f"{image.layers[0].digest} has other content"]
    blob.unlink()
    assert image.problems() == [f"{image.layers[0].digest} is missing"]


def test_what_is_no_layout_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ImageError, match=r"is not an image layout: index\.json"):
        Layout.open(tmp_path)
    (tmp_path / "index.json").write_text('{"manifests": []}')
    with pytest.raises(ImageError, match="holds 0 images"):
        Layout.open(tmp_path)


def test_two_layers_that_disagree_are_refused(tmp_path: pathlib.Path) -> None:
    low = _layer(tmp_path, "low", layer.file("etc/x", b"1"), layer.file("etc/y", b"1"))
    same = _layer(tmp_path, "same", layer.file("etc/x", b"1"))
    other = _layer(tmp_path, "other", layer.file("etc/x", b"2"))
    assert set(merged([low, same])) == {"etc", "etc/x", "etc/y"}
    with pytest.raises(ImageError, match="/etc/x is in the layers low and other, with different"):
        merged([low, other])


def test_more_layers_than_can_be_mounted_are_refused(tmp_path: pathlib.Path) -> None:
    layers = [
        _layer(tmp_path, str(number), layer.file(f"f/{number}", b"")) for number in range(128)
    ]
    assert len(merged(layers[:127])) == 128
    with pytest.raises(ImageError, match="128 layers"):
        merged(layers)


@pytest.mark.parametrize(
    ("entries", "entrypoint", "reason"),
    [
        ([], ["/usr/bin/program"], "/usr/bin/program is not in the image"),
        ([layer.file("usr/bin/program", b"")], ["/usr/bin/program"], "is no program"),
        ([_PROGRAM], ["other"], "other is in no directory of PATH"),
        ([layer.symlink("a", "b"), layer.symlink("b", "a")], ["/a"], "is a loop of links"),
        ([layer.symlink("a", "/gone")], ["/a"], "/a is not in the image"),
        ([layer.directory("opt")], ["/opt"], "is no program"),
    ],
)
def test_an_entry_point_that_cannot_start_is_refused(
    tmp_path: pathlib.Path, entries: list[Entry], entrypoint: list[str], reason: str
) -> None:
    found = merged([_layer(tmp_path, "low", *entries)])
    with pytest.raises(ImageError, match=reason):
        check_entrypoint(found, entrypoint, {"PATH": "/bin:/usr/bin"})


def test_nothing_is_written_for_an_image_that_cannot_be(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ImageError):
        _build(tmp_path, [_layer(tmp_path, "low", _PROGRAM)], entrypoint=["/gone"])
    assert not (tmp_path / "image").exists()
    assert not (tmp_path / "digest").exists()


def test_an_entry_point_is_found_through_links_and_path(tmp_path: pathlib.Path) -> None:
    found = merged(
        [
            _layer(tmp_path, "low", _PROGRAM, layer.symlink("bin", "usr/bin")),
            _layer(tmp_path, "up", layer.symlink("opt/run", "../bin/./program")),
        ]
    )
    assert resolve(found, "/opt/run") == "usr/bin/program"
    check_entrypoint(found, ["/opt/run"], {})
    check_entrypoint(found, ["program"], {"PATH": "/nowhere:/bin"})


def test_contents_name_every_package_and_the_requirements_that_are_there(
    tmp_path: pathlib.Path,
) -> None:
    layers = [
        _layer(tmp_path, "low", _PROGRAM, packages=(Package("pypi", "numpy", "2"),)),
        _layer(
            tmp_path,
            "up",
            packages=(
                Package("pypi", "torch", "2.13", requires=("numpy", "triton")),
                Package("deb", "libc6", "2.36", architecture="amd64", source="glibc"),
            ),
        ),
    ]
    _build(tmp_path, layers)
    contents = json.loads((tmp_path / "contents.json").read_text())
    assert [(p["type"], p["name"]) for p in contents["packages"]] == [
        ("deb", "libc6"),
        ("pypi", "numpy"),
        ("pypi", "torch"),
    ]
    assert contents["packages"][2]["requires"] == ["numpy"]
