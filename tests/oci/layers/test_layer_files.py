"""Reading layers, compressed or not, whole or damaged."""

import pathlib
import subprocess
import sys

import pytest

from tests.oci.small_images import SmallLayer, tar_of, write_image
from tools.oci.errors import ImageError
from tools.oci.image.layout import Layout
from tools.oci.layers.layer_files import File, read_layer

FILES: dict[str, bytes | str] = {
    "a/list": b"wanted",
    "a/large": b"\0" * 3_000_000,
    "link": "a/large",
    "a/" + "long" * 60: b"12345",
}
KINDS = ["", "+gzip", "+zstd"]


def image(path: pathlib.Path, compression: str) -> Layout:
    return write_image(path / "image", [SmallLayer("app", FILES, compression)])


@pytest.mark.parametrize("compression", KINDS)
def test_every_kind_of_layer_is_read_alike(tmp_path: pathlib.Path, compression: str) -> None:
    layout = image(tmp_path, compression)
    found = read_layer(layout, layout.layers[0], lambda path: path == "a/list")
    assert found.size == len(tar_of(FILES))
    assert sorted(found.files, key=lambda file: file.size) == [
        File("a/" + "long" * 60, 5),
        File("a/list", 6),
        File("a/large", 3_000_000),
    ]
    assert found.texts == {"a/list": b"wanted"}


@pytest.mark.parametrize("compression", KINDS)
@pytest.mark.parametrize("spoil", ["cut", "noise", "gone"])
def test_a_damaged_layer_is_an_error_that_names_it(
    tmp_path: pathlib.Path, compression: str, spoil: str
) -> None:
    layout = image(tmp_path, compression)
    layer = layout.layers[0]
    blob = layout.blob(layer.digest)
    content = blob.read_bytes()
    blob.unlink()
    if spoil == "cut":
        blob.write_bytes(content[: len(content) // 2])
    elif spoil == "noise":
        blob.write_bytes(b"\x5a" * len(content))
    with pytest.raises(ImageError, match=layer.digest):
        read_layer(layout, layer, lambda path: False)


def test_a_kind_of_layer_that_is_not_known_is_refused(tmp_path: pathlib.Path) -> None:
    layout = image(tmp_path, "")
    layer = type(layout.layers[0])("text/plain", layout.layers[0].digest, layout.layers[0].size)
    with pytest.raises(ImageError, match="unknown kind text/plain"):
        read_layer(layout, layer, lambda path: False)


def test_zstd_without_its_package_says_what_is_needed(tmp_path: pathlib.Path) -> None:
    layout = image(tmp_path, "+zstd")
    program = f"""
import pathlib, sys
sys.path[:] = {sys.path!r}
sys.modules["zstandard"] = None  # as if it were not installed
from tools.oci import errors
from tools.oci.report import report
errors.run(lambda: report.main(["--layout={layout.path}"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "error: layers in zstd are read with the package zstandard; install it\n"
