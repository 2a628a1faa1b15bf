"""The size report: what it measures, what it says of a change, and what it makes of budgets."""

import argparse
import json
import pathlib
import re
from typing import Any

import pytest

from tests.oci.small_images import SmallLayer, tar_of, write_image
from tests.tiny.html_page import HtmlPage
from tools.oci.errors import ImageError
from tools.oci.image.layout import Layout, canonical_json
from tools.oci.report import report
from tools.oci.report.markdown import human, signed
from tools.oci.report.sizes import Sizes

SITE = "opt/retort/lib/python3.11/site-packages/"
BASE = SmallLayer(
    "base",
    {
        "usr/lib/libc.so.6": b"c" * 100_000,
        "var/lib/dpkg/status.d/libc6.md5sums": b"0  usr/lib/libc.so.6\n",
    },
    "+zstd",
)
TORCH = SmallLayer(
    "torch",
    {
        f"{SITE}torch/lib/libtorch.so": b"t" * 400_000,
        f"{SITE}torch/lib/libgomp.so.1": b"g" * 70_000,
        f"{SITE}other.libs/libgomp.so.1": b"g" * 70_000,
        f"{SITE}torch-2.0.dist-info/RECORD": b"torch/lib/libtorch.so,,\ntorch/lib/libgomp.so.1,,\n",
    },
    "+gzip",
)
NUMPY = SmallLayer(
    "numpy",
    {
        f"{SITE}numpy/core.so": b"n" * 50_000,
        f"{SITE}numpy-1.0.dist-info/RECORD": b"numpy/core.so,,\n",
    },
)


def app(size: int) -> SmallLayer:
    return SmallLayer("app", {f"{SITE}retort/main.py": b"#" * size, "link": "retort"})


@pytest.fixture
def old(tmp_path: pathlib.Path) -> Layout:
    return write_image(tmp_path / "old", [BASE, TORCH, app(1000)])


@pytest.fixture
def new(tmp_path: pathlib.Path) -> Layout:
    return write_image(tmp_path / "new", [BASE, NUMPY, app(30_000)])


def measured(layout: Layout, *more: str) -> dict[str, Any]:
    out = layout.path.parent / f"{layout.path.name}.json"
    report.main([f"--layout={layout.path}", f"--json={out}", *more])
    content: dict[str, Any] = json.loads(out.read_bytes())
    return content


def packages(content: dict[str, Any]) -> dict[str, int]:
    return {f"{one['type']}:{one['name']}": one["size"] for one in content["packages"]}


# --- what is measured


def test_layers_are_measured_packed_and_unpacked(old: Layout) -> None:
    content = measured(old)
    layers = [BASE, TORCH, app(1000)]
    assert [one["name"] for one in content["layers"]] == ["base", "torch", "app"]
    assert [one["size"] for one in content["layers"]] == [len(tar_of(one.files)) for one in layers]
    assert [one["blob_size"] for one in content["layers"]] == [one.size for one in old.layers]
    assert [one["files"] for one in content["layers"]] == [2, 4, 1]
    assert content["size"] == sum(one["size"] for one in content["layers"])
    assert content["digest"] == old.image.digest


def test_every_byte_of_a_file_is_one_package_s(old: Layout) -> None:
    found = packages(measured(old))
    lists = len(TORCH.files[f"{SITE}torch-2.0.dist-info/RECORD"])
    assert found["pypi:torch"] == 470_000 + lists
    assert found["own:retort"] == 1000
    assert found["deb:libc6"] == 100_021
    files = [
        content
        for layer in (BASE, TORCH, app(1000))
        for content in layer.files.values()
        if isinstance(content, bytes)
    ]
    assert sum(found.values()) == sum(map(len, files))


def test_layers_without_an_annotation_are_named_by_the_history(tmp_path: pathlib.Path) -> None:
    layers = [SmallLayer(name, {name: b""}, annotated=False) for name in ("a", "b")]
    layout = write_image(tmp_path / "image", [*layers, SmallLayer("a", {"c": b""})])
    assert [one["name"] for one in measured(layout)["layers"]] == ["a", "b", "a (2)"]


def test_the_largest_files_and_repeated_libraries_are_named(old: Layout) -> None:
    content = measured(old)
    assert content["largest_files"][0] == {
        "path": f"/{SITE}torch/lib/libtorch.so",
        "size": 400_000,
        "layer": "torch",
    }
    assert content["repeated"] == [
        {
            "name": "libgomp.so.1",
            "size": 70_000,
            "paths": [f"/{SITE}other.libs/libgomp.so.1", f"/{SITE}torch/lib/libgomp.so.1"],
        }
    ]


def test_contents_give_versions_and_show_what_has_no_file(
    old: Layout, tmp_path: pathlib.Path
) -> None:
    fields = {"sha256": "0" * 64, "licence": ""}
    listed = [
        {"type": "deb", "name": "libc6", "version": "2.36-9", **fields},
        {"type": "pypi", "name": "Empty_Package", "version": "1", **fields},
    ]
    document = canonical_json({"image": "training_cpu", "packages": listed})
    (tmp_path / "contents.json").write_bytes(document)
    content = measured(old, f"--contents={tmp_path}/contents.json")
    assert content["image"] == "training_cpu"
    versions = {one["name"]: (one["version"], one["files"]) for one in content["packages"]}
    assert versions["libc6"] == ("2.36-9", 2)
    assert versions["torch"] == ("2.0", 3)
    assert versions["empty-package"] == ("1", 0)


def test_a_mapping_says_whose_a_file_is(old: Layout, tmp_path: pathlib.Path) -> None:
    mapping = canonical_json({"deb:libgomp1": [f"/{SITE}other.libs/libgomp.so.1"]})
    (tmp_path / "packages.json").write_bytes(mapping)
    assert packages(measured(old, f"--packages={tmp_path}/packages.json"))["deb:libgomp1"] == 70_000


@pytest.mark.parametrize(
    "mapping", ['["a"]', '{"a": ["/b"]}', '{"deb:a": ["b"]}', "{", '{"deb:a": 1}']
)
def test_what_is_no_mapping_is_refused(old: Layout, tmp_path: pathlib.Path, mapping: str) -> None:
    (tmp_path / "packages.json").write_text(mapping)
    with pytest.raises(ImageError, match=r"packages\.json"):
        measured(old, f"--packages={tmp_path}/packages.json")


def test_the_json_is_read_back_as_it_was(old: Layout) -> None:
    content = measured(old)
    assert json.loads(json.dumps(Sizes.from_json(content).to_json())) == content


# --- what changed


def test_a_report_says_what_changed_most_first(
    old: Layout, new: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(old)
    capsys.readouterr()
    measured(new, f"--against={old.path}.json")
    lines = capsys.readouterr().out.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("| changed layer"))
    rows = [
        [cell.strip() for cell in line.split("|")[1:3]] for line in lines[start + 2 : start + 5]
    ]
    assert rows == [["torch", "removed"], ["numpy", "new"], ["app", "grown"]]
    changed = [line.split("|")[1].strip() for line in lines if re.search(r"\((pypi|own)\)", line)]
    assert changed == ["torch (pypi)", "other.libs (own)", "numpy (pypi)", "retort (own)"]
    moved = new.layers[1].size + new.layers[2].size
    assert f"a push moves **{human(moved)} (numpy, app)**" in "\n".join(lines)


def test_nothing_changed_is_said(old: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    measured(old)
    capsys.readouterr()
    measured(old, f"--against={old.path}.json", f"--html={old.path}.html")
    printed = capsys.readouterr().out
    assert "a push moves **nothing**" in printed
    assert "changed layer" not in printed
    assert "has the size it had" in pathlib.Path(f"{old.path}.html").read_text()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}'])
def test_what_is_no_report_is_refused(old: Layout, tmp_path: pathlib.Path, text: str) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ImageError):
        measured(old, f"--against={tmp_path}/other.json")


# --- budgets


def test_budgets_are_shown_and_end_the_command_only_when_enforced(
    old: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = ["--budget-total=1GB", "--budget-layer=100kB", "--budget-app=1"]
    measured(old, *limits)
    printed = capsys.readouterr().out
    assert "| ✅ whole image |" in printed
    assert "| ❌ largest layer (torch) |" in printed
    assert "| ❌ our code (app) |" in printed
    with pytest.raises(SystemExit) as end:
        measured(old, *limits, "--enforce")
    assert end.value.code == "over budget: largest layer (torch), our code (app)"
    measured(old, "--budget-total=1GB", "--budget-layer=1MB", "--enforce")


def test_a_budget_is_kept_by_as_much_as_it_allows(old: Layout) -> None:
    size = measured(old)["size"]
    measured(old, f"--budget-total={size}", "--enforce")
    with pytest.raises(SystemExit):
        measured(old, f"--budget-total={size - 1}", "--enforce")


def test_our_code_has_a_budget_by_default(tmp_path: pathlib.Path) -> None:
    large = write_image(tmp_path / "large", [BASE, app(6_000_000)])
    with pytest.raises(SystemExit):
        measured(large, "--enforce")


@pytest.mark.parametrize(
    ("text", "size"), [("12", 12), ("1.5 GB", 1_500_000_000), ("900MB", 900_000_000), ("7kB", 7000)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert report.bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "-1", "1 TB", "1KB", "nan"])
def test_other_words_are_no_size(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no size"):
        report.bytes_of(text)


# --- how it looks


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1234, "1.23 kB"),
        (45_600_000, "45.6 MB"),
        (7 * 10**11, "700 GB"),
    ],
)
def test_bytes_are_shown_with_three_digits(size: int, text: str) -> None:
    assert human(size) == text
    assert signed(size)[1:] == text
    assert signed(-size - 1)[0] == "\u2212"


def test_markdown_goes_to_standard_output_unless_json_is_asked_for(
    old: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    report.main([f"--layout={old.path}"])
    printed = capsys.readouterr().out
    assert printed.startswith("### Image `old`\n")
    assert "<details><summary>Packages (" in printed
    report.main([f"--layout={old.path}", "--json"])
    assert json.loads(capsys.readouterr().out)["digest"] == old.image.digest


def test_the_page_is_well_formed_and_needs_nothing_from_elsewhere(old: Layout, new: Layout) -> None:
    measured(old)
    measured(new, f"--against={old.path}.json", f"--html={new.path}.html", "--budget-total=1")
    text = pathlib.Path(f"{new.path}.html").read_text()
    HtmlPage(text).check_alone()
    for word in ("base", "numpy", "app", "torch (pypi)", "our code (app)", "over"):
        assert f">{word}<" in text


def test_names_from_the_image_are_text_in_both_forms(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = "<b>a|`b"
    layout = write_image(tmp_path / "image", [SmallLayer(odd, {f"{SITE}{odd}/x": b"1"})])
    measured(layout, f"--html={tmp_path}/page.html")
    assert odd not in (tmp_path / "page.html").read_text()
    printed = capsys.readouterr().out
    assert "| &lt;b>" not in printed
    assert printed.count("| &lt;b&gt;a\\|&#96;b |") == 3
    assert f"`/{SITE}<b>a\\|b/x`" in printed


def test_a_page_makes_its_directory_or_is_one_line(old: Layout, tmp_path: pathlib.Path) -> None:
    measured(old, f"--html={tmp_path}/new/page.html")
    assert (tmp_path / "new/page.html").is_file()
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match=r"file/page\.html: "):
        measured(old, f"--html={tmp_path}/file/page.html")
