"""The golden digests: a change is found, named by its layer, and accepted by one command."""

import json
import pathlib

import pytest

from tests.oci.small_images import SmallLayer, write_image
from tools.oci.errors import ImageError
from tools.oci.image import golden


def _run(folder: pathlib.Path, *more: str) -> None:
    golden.main([f"--file={folder / 'digests.json'}", f"--layout={folder / 'small'}", *more])


def test_what_was_written_is_found_again(tmp_path: pathlib.Path) -> None:
    write_image(tmp_path / "small", [SmallLayer("app", {"a": b"1"})])
    _run(tmp_path)
    before = (tmp_path / "digests.json").read_bytes()
    _run(tmp_path, "--check")
    assert (tmp_path / "digests.json").read_bytes() == before
    assert json.loads(before)["small"]["layers"].keys() == {"app"}


def test_a_changed_layer_is_named_and_nothing_is_written(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "small", [SmallLayer("low", {"b": b""}), SmallLayer("app", {"a": b"1"})])
    _run(tmp_path)
    before = (tmp_path / "digests.json").read_bytes()
    (tmp_path / "small").rename(tmp_path / "old")
    write_image(tmp_path / "small", [SmallLayer("low", {"b": b""}), SmallLayer("app", {"a": b"2"})])
    with pytest.raises(SystemExit) as ended:
        _run(tmp_path, "--check")
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "layer app: sha256:" in said
    assert "layer low" not in said
    assert "bazel run //docker:golden" in said
    assert (tmp_path / "digests.json").read_bytes() == before


def test_another_engine_neither_compares_nor_writes(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "small", [SmallLayer("app", {"a": b"1"})])
    _run(tmp_path)
    before = (tmp_path / "digests.json").read_bytes()
    (tmp_path / "small").rename(tmp_path / "old")
    write_image(tmp_path / "small", [SmallLayer("app", {"a": b"2"})])
    (tmp_path / "_repo_mapping").touch()
    monkeypatch.setenv("RUNFILES_DIR", str(tmp_path))
    _run(tmp_path, "--check")
    assert "not compared: " in capsys.readouterr().err
    with pytest.raises(ImageError, match="RETORT_ENGINE=airgap"):
        _run(tmp_path)
    assert (tmp_path / "digests.json").read_bytes() == before


def test_a_layer_of_sources_is_printed_and_not_kept(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    low = SmallLayer("low", {"b": b""})
    write_image(tmp_path / "small", [low, SmallLayer("app", {"a": b"1"})])
    _run(tmp_path, "--sources=app")
    before = json.loads((tmp_path / "digests.json").read_text())
    assert before["small"]["layers"].keys() == {"low"}
    (tmp_path / "small").rename(tmp_path / "old")
    image = write_image(tmp_path / "small", [low, SmallLayer("app", {"a": b"2"})])
    _run(tmp_path, "--sources=app", "--check")
    said = capsys.readouterr().err
    assert f"small: {image.image.digest}\n  app: {image.layers[1].digest}\n" in said
    with pytest.raises(SystemExit):
        _run(tmp_path, "--check")


def test_a_configuration_that_changed_is_named(tmp_path: pathlib.Path) -> None:
    found = []
    for label in ("a", "b"):
        write_image(tmp_path / label / "small", [SmallLayer("app", {})], labels={"of": label})
        found.append(golden.digests([tmp_path / label / "small"]))
    (told,) = golden.differences(*found)
    assert told.startswith("small: configuration: sha256:")


def test_an_image_that_is_new_or_gone_is_named() -> None:
    one = {"one": {"configuration": "sha256:1", "layers": {"a": "sha256:1", "b": "sha256:2"}}}
    assert golden.differences(one, {}) == ["one: only in the file"]
    assert golden.differences({}, one) == ["one: only built"]
    turned = {"one": {"configuration": "sha256:1", "layers": {"b": "sha256:2", "a": "sha256:1"}}}
    assert golden.differences(one, turned) == ["one: the layers lie in another order"]
    assert golden.differences(one, one) == []


def test_a_layout_with_a_damaged_blob_has_no_digest(tmp_path: pathlib.Path) -> None:
    image = write_image(tmp_path / "small", [SmallLayer("app", {"a": b"1"})])
    image.blob(image.layers[0].digest).write_bytes(b"")
    with pytest.raises(ImageError, match="has other content"):
        _run(tmp_path)
