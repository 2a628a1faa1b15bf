"""Memory does not grow with a corpus, but for the few bytes remembered of each document."""

import json
from pathlib import Path

from benchmarks.data.corpus import write_corpus
from benchmarks.data.tokenizers import write_tokenizer
from benchmarks.data.tools import Task, prepare
from benchmarks.process import run_measured


def test_a_corpus_ten_times_as_large_needs_hardly_more_memory(tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokenizer.json"
    write_tokenizer("WordPiece", tokenizer)
    memory = []
    for name, size in (("small", 10 * 10**6), ("large", 100 * 10**6)):
        out = tmp_path / name
        out.mkdir()
        corpus = write_corpus(tmp_path / f"{name}.jsonl", size, copy_every=50, grows=False)
        task = Task(corpus.file, tokenizer, out, workers=1)
        usage, said = run_measured(prepare(task, documents=500))
        assert json.loads(said)["documents"] == corpus.documents - corpus.documents // 50
        memory.append(usage.memory)
    assert memory[1] - memory[0] < 30 * 10**6, "a third of what was added"
