"""Reading is measured, and tools that disagree are not compared. By night every tool runs: `test_data_tools.py`."""

from pathlib import Path

import pytest

from benchmarks.data.comparison import compare
from benchmarks.data.corpus import write_corpus
from benchmarks.data.main import main
from benchmarks.data.tokenizers import write_tokenizer
from benchmarks.data.tools import MAP, OURS, Tool
from benchmarks.process import python


def test_reading_is_measured(tmp_path: Path) -> None:
    assert main(["--quick", "--parts", "reading", "--out", str(tmp_path)]) == 0
    (result,) = tmp_path.iterdir()
    text = result.read_text(encoding="utf-8")
    for what in ("BlockReader", "ClassificationReader", "get_batch", "a training step of MiniLM"):
        assert what in text


def test_tools_that_disagree_are_not_compared(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", 1_000_000)
    tokenizer = tmp_path / "tokenizer.json"
    write_tokenizer("WordPiece", tokenizer)
    other = tmp_path / "other.json"
    other.write_text(tokenizer.read_text().replace('"lowercase":true', '"lowercase":false'))
    assert other.read_text() != tokenizer.read_text()
    wrong = Tool(
        "wrong",
        MAP.kinds,
        lambda task: python(
            "benchmarks.data.datasets_map", task.corpus, other, task.out, "--workers", 1
        ),
        MAP.documents,
    )
    with pytest.raises(AssertionError, match="tools disagree on token numbers"):
        compare((OURS, wrong), "WordPiece", corpus, tokenizer, runs=1, scratch=tmp_path)
