"""Memory does not grow with a corpus, but for the few bytes remembered of each document."""

from pathlib import Path

from benchmarks.data_memory import measure, write_corpus


def test_a_corpus_twenty_times_as_large_needs_hardly_more_memory(tmp_path: Path) -> None:
    runs = []
    for name, size in (("small", 8 * 10**6), ("large", 160 * 10**6)):
        write_corpus(tmp_path / name, size)
        runs.append(measure(tmp_path / name, compared=500))
    small, large = runs
    assert large.documents > 18 * small.documents
    assert large.duplicates == large.documents // 50
    assert large.emitted + large.duplicates == large.documents
    assert large.resident - small.resident < 40 * 10**6, "a quarter of what was added"
