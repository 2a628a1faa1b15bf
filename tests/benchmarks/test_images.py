"""The comparison of images: what it computes from times, layouts and profiles."""

import gzip
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks.images import pictures as images_pictures
from benchmarks.images import result as images_result
from benchmarks.images.main import take_turns
from benchmarks.images.sides import (
    Image,
    Layer,
    change_code,
    copy_checkout,
    layer_seconds,
    moved,
    read_layout,
)
from tools.oci.image.layout import CONFIG, LAYER, MANIFEST, canonical_json, describe, write_layout

ROOT = Path(__file__).resolve().parents[2]


class Side:
    """A way to build that notes what is asked of it."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def build(self) -> None:
        self.log.append(f"build {self.name}")


def _image(*layers: tuple[str, int], configuration: str = "c") -> Image:
    made = tuple(Layer(name, f"sha256:{name}", size) for name, size in layers)
    return Image("sha256:i", made, Layer("configuration", f"sha256:{configuration}", 7))


def test_sides_take_turns_and_each_begins() -> None:
    log: list[str] = []
    sides = {name: Side(name, log) for name in ("a", "b")}
    times = take_turns(
        sides,  # type: ignore[arg-type]
        2,
        lambda side, turn: log.append(f"prepare {turn}"),
    )
    assert {name: len(values) for name, values in times.items()} == {"a": 2, "b": 2}
    assert log == [
        *("prepare round 0, a", "build a", "prepare round 0, b", "build b"),
        *("prepare round 1, b", "build b", "prepare round 1, a", "build a"),
    ]


def test_a_change_moves_what_the_image_before_lacks() -> None:
    before = _image(("base", 100), ("app", 5))
    after = _image(("base", 100), ("app2", 6), configuration="c2")
    assert moved(before, after) == 6 + 7
    assert moved(before, before) == 0


def test_targets_are_of_medians() -> None:
    section = images_result.change({"rules": [1.0, 1.9, 9.0], "buildah": [19.0, 18.0, 500.0]})
    assert [(one.measured, one.reached) for one in section.targets] == [
        ("1.90 s", True),
        ("10.0 times as fast", True),
    ]
    assert "| buildah | 19.00 | 18.00 | 500.00 | 3 |" in section.text
    slow = images_result.change({"rules": [2.1], "buildah": [20.0]})
    assert [one.reached for one in slow.targets] == [False, False]


@pytest.mark.parametrize(("ours", "reached"), [(10.0, True), (10.1, False)])
def test_a_cold_build_may_not_be_slower(ours: float, reached: bool) -> None:
    (target,) = images_result.cold({"rules": [ours], "buildah": [10.0]}).targets
    assert target.reached == reached


def test_a_push_is_measured_against_its_limit() -> None:
    small = (_image(("app", 1)), _image(("app2", 4_000_000)))
    large = (_image(("app", 1)), _image(("app2", 5_000_000)))
    (target,) = images_result.push({"rules": small, "buildah": large}).targets
    assert target.reached
    assert target.measured == "4.000 MB"
    (target,) = images_result.push({"rules": large, "buildah": small}).targets
    assert not target.reached


def test_layers_have_their_names_and_times(tmp_path: Path) -> None:
    content, config = b"layer", canonical_json({})
    layer = describe(LAYER, content, **{"org.retort.layer": "torch"})
    plain = describe(LAYER, content)
    manifest = canonical_json(
        {
            "config": describe(CONFIG, config).to_json(),
            "layers": [layer.to_json(), plain.to_json()],
        }
    )
    image = describe(MANIFEST, manifest)
    contents = {
        layer.digest: content,
        describe(CONFIG, config).digest: config,
        image.digest: manifest,
    }
    write_layout(tmp_path, image, {}, contents)
    read = read_layout(tmp_path, {"torch": 1.5})
    assert [(one.name, one.size, one.seconds) for one in read.layers] == [
        ("torch", 5, 1.5),
        ("layer 2", 5, None),
    ]
    assert read.digest == image.digest
    text = images_result.layers({"rules": read}).text
    assert "| torch | `" in text
    assert "| all |  | 0.00 |  |" in text


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_times_of_layers_are_read_from_a_profile(tmp_path: Path, compress: type[bytes]) -> None:
    def event(
        name: str, microseconds: int, category: str = "action processing"
    ) -> dict[str, object]:
        return {"name": name, "cat": category, "dur": microseconds, "ph": "X"}

    events = [
        event("Writing the layer torch of //docker:common_cpu", 1_500_000),
        event("Writing the layer torch of //docker:common_cpu", 500_000),
        event("Writing the layer torch of //docker:common_cpu", 400_000, "subprocess.run"),
        event("Assembling the image //docker:training_cpu", 7_000_000),
        {"name": "thread_name", "ph": "M"},
    ]
    profile = tmp_path / "profile"
    profile.write_bytes(compress(json.dumps({"traceEvents": events}).encode()))
    assert layer_seconds(profile) == {"torch": 2.0}


def test_a_picture_shows_every_side_and_layer(tmp_path: Path) -> None:
    file = tmp_path / "a.svg"
    times = {"A line changes": {"rules": [1.0, 2.0], "buildah": [20.0]}}
    images_pictures.write_picture(times, _image(("torch", 700), ("app", 1)).layers, file)
    texts = "".join(ET.fromstring(file.read_text()).itertext())
    for word in ("A line changes", "rules", "buildah", "torch", "app"):
        assert word in texts


def test_a_change_is_made_in_the_copy_alone(tmp_path: Path) -> None:
    source = tmp_path / "source"
    code = "python/retort/core/cli.py"
    (source / code).parent.mkdir(parents=True)
    (source / code).write_text("x = 1\n")
    for name in (".git/config", "runs/old", "bazel-out/old"):
        (source / name).parent.mkdir(parents=True)
        (source / name).touch()
    copy_checkout(source, tmp_path / "copy")
    change_code(tmp_path / "copy", "one")
    first = (tmp_path / "copy" / code).read_text()
    change_code(tmp_path / "copy", "two")
    assert (source / code).read_text() == "x = 1\n"
    assert first != (tmp_path / "copy" / code).read_text() != "x = 1\n"
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["python"]
