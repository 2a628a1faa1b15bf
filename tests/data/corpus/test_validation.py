"""Figures of a corpus: lengths, labels, and what a person should look at."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retort.data.config import CorpusConfig
from retort.data.corpus.corpus import survey
from retort.data.corpus.validation import measure_lengths


@settings(deadline=None)
@given(st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=200))
def test_lengths_are_all_counted_and_quantiles_are_lengths_that_there_are(
    lengths: list[int],
) -> None:
    found = measure_lengths(np.array(lengths, np.uint32))
    assert sum(found.counts) == len(lengths)
    assert len(found.edges) == len(found.counts) + 1
    assert list(found.edges) == sorted(set(found.edges))
    assert found.edges[0] == found.minimum == min(lengths)
    assert found.edges[-2] <= found.maximum == max(lengths) < found.edges[-1]
    assert found.total == sum(lengths)
    assert found.mean == pytest.approx(sum(lengths) / len(lengths))
    assert set(found.quantiles.values()) <= set(lengths)
    assert list(found.quantiles.values()) == sorted(found.quantiles.values())


def test_lengths_of_one_kind_are_one_bin() -> None:
    found = measure_lengths(np.array([5, 5, 5], np.uint32))
    assert (found.edges, found.counts) == ((5, 6), (3,))


def test_every_finding_is_counted_and_warned_of(tmp_path: Path) -> None:
    lines = [f"{number} words {number}\tcommon" for number in range(300)]
    lines += [f"{number} rare {number}\trare" for number in range(20)]
    lines += ["both\tcommon", "both\trare", "0 words 0\tcommon", " \trare"]
    content = "text,label\n" + "\n".join(lines).replace("\t", ",") + "\n"
    (tmp_path / "file").write_bytes(content.encode() + b"caf\xe9,common\n")
    corpus = survey(
        CorpusConfig.model_validate(
            {
                "source": "csv",
                "files": {"paths": [str(tmp_path / "file")], "label": "label"},
                "held_out": 0.2,
                "not_utf8": "drop",
            }
        )
    )
    facts = corpus.validation
    assert (facts.documents, facts.empty, facts.duplicates, facts.ambiguous) == (324, 1, 1, 2)
    assert facts.train + facts.held_out == 320
    assert [(one.label, one.train + one.held_out) for one in facts.labels] == [
        ("common", 300),
        ("rare", 20),
    ]
    warnings = "\n".join(facts.warnings)
    assert "label 'common' has 300 documents and label 'rare' 20" in warnings
    assert "2 documents have a text that stands under several labels" in warnings
    assert "1 documents that are not UTF-8 were left out" in warnings
    value = json.loads(facts.to_json())
    assert value["encodings"]["places"] == [
        {"file": "file", "row": 325, "offset": len(content) + 3}
    ]
    assert value["schema"] == {"source": "csv", "files": 1, "text": "text", "label": "label"}
    assert value["characters"]["minimum"] == len("0 rare 0")
    assert value["tokens"] is None, "nothing was tokenised"
    assert str(tmp_path) not in facts.to_json().decode()
