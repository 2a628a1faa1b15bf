"""Every tool of the comparison runs, on a corpus of one megabyte, and all of them agree."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks.data.main import main
from benchmarks.data.tools import TOOLS


def test_every_tool_and_growth_are_measured_and_memory_over_the_limit_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    # Tools with the other kind of tokenizer: below.
    options = ["--quick", "--parts", "tools", "growth", "--kinds", "BPE", "--limit", "10"]
    assert main([*options, "--scratch", str(tmp_path), "--out", str(out)]) == 1
    assert "memory is over the limit of 10 MB" in capsys.readouterr().err
    names = sorted(file.name.partition("-20")[0] for file in out.iterdir())
    assert names == ["data", "data-growth", "data-tools"]
    text = next(out.glob("data-*.md")).read_text(encoding="utf-8")
    for tool in TOOLS:
        assert text.count(f"| {tool.name} |") == ("BPE" in tool.kinds), tool.name
    assert "All tools left the same token numbers" in text
    assert "BPE: memory up to 1 MB" in text
    for picture in out.glob("*.svg"):
        assert ET.parse(picture).getroot().tag.endswith("svg")
        assert f"({picture.name})" in text
    assert list(tmp_path.iterdir()) == [out], "corpora and results of tools are gone"
