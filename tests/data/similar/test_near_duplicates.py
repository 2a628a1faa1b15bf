"""Near-duplicates are found, those across the split above all, and the same every time."""

import hashlib
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retort.data.config import NearDuplicatesConfig
from retort.data.similar.minhash import signatures
from retort.data.similar.near_duplicates import (
    NearDuplicates,
    Sample,
    bands_and_rows,
    excerpt,
    find_near_duplicates,
    position,
)
from retort.data.sources.documents import Part

VOCABULARY = [f"word{number}" for number in range(5000)]


def text(seed: int, length: int = 200) -> str:
    return " ".join(random.Random(seed).choices(VOCABULARY, k=length))


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def changed(original: str, every: int) -> str:
    words = original.split()
    return " ".join("other" if n % every == every - 1 else word for n, word in enumerate(words))


def find(
    texts: list[str],
    parts: dict[int, Part],
    config: NearDuplicatesConfig,
    own: dict[int, Part] | None = None,
) -> tuple[NearDuplicates, frozenset[int]]:
    sample = Sample(config)
    for number, (one, signature) in enumerate(zip(texts, signatures(texts, config), strict=True)):
        sample.add(number, digest(one), (own or {}).get(number), excerpt(one), signature)
    return find_near_duplicates(sample, parts.get, config)


def example() -> tuple[list[str], dict[int, Part]]:
    """Forty different texts, then three that are near the first, and one near the second."""
    texts = [text(seed) for seed in range(40)]
    texts += [changed(texts[0], 150), texts[0] + " end", texts[0].upper().replace(" ", ",  ")]
    texts += [changed(texts[1], 100), changed(texts[2], 4)]
    parts: dict[int, Part] = dict.fromkeys(range(len(texts)), "train")
    return texts, parts | {0: "held_out", 41: "held_out"}


def test_pairs_groups_and_leaks_are_counted() -> None:
    found, leaking = find(*example(), NearDuplicatesConfig())
    assert (found.compared, found.pairs, found.clusters, found.largest) == (45, 7, 2, 4)
    assert (found.crossing_pairs, found.leaking, found.removed) == (4, 2, 0)
    assert leaking == {40, 42}
    assert len(found.examples) == 7
    for pair in found.examples[:4]:
        assert {pair.first_part, pair.second_part} == {"train", "held_out"}
        assert 0.8 <= pair.similarity <= 1.0
        assert pair.first < pair.second
    assert {found.examples[5].first, found.examples[5].second} == {2, 44}
    assert found.examples[0].first_text.startswith(text(0)[:40])


def test_a_threshold_decides_what_is_near() -> None:
    texts, parts = example()
    strict, _ = find(texts, parts, NearDuplicatesConfig(threshold=0.99))
    loose, _ = find(texts, parts, NearDuplicatesConfig(threshold=0.5, shingle=1))
    assert strict.pairs < 7 < loose.pairs
    assert loose.clusters == 3, "every fourth word is another: near by words, not by fives of them"


@pytest.mark.parametrize("permutations", [16, 17, 64, 128, 200, 512])
@pytest.mark.parametrize("threshold", [0.5, 0.65, 0.8, 0.9, 0.99])
def test_a_pair_at_the_threshold_is_all_but_always_compared(
    threshold: float, permutations: int
) -> None:
    bands, rows = bands_and_rows(threshold, permutations)
    assert bands >= 2
    assert bands * rows <= permutations
    assert 1 - (1 - threshold**rows) ** bands >= 0.99
    texts = [text(0), text(0) + " ."]
    config = NearDuplicatesConfig(threshold=threshold, permutations=permutations)
    assert find(texts, dict.fromkeys(range(2), "train"), config)[0].pairs == 1


def test_of_equal_texts_the_copy_that_stays_is_compared() -> None:
    texts = [text(0), text(0), changed(text(0), 150)]
    parts: dict[int, Part] = {1: "held_out", 2: "train"}
    found, leaking = find(texts, parts, NearDuplicatesConfig(), own={1: "held_out"})
    assert (found.compared, found.pairs, set(leaking)) == (2, 1, {2})
    nothing, _ = find(texts, {}, NearDuplicatesConfig())
    assert (nothing.compared, nothing.pairs) == (0, 0)


def test_a_large_group_counts_every_pair_once() -> None:
    texts = [f"{text(3)} {number}" for number in range(60)]
    parts: dict[int, Part] = {
        number: ("held_out" if number < 2 else "train") for number in range(60)
    }
    found, leaking = find(texts, parts, NearDuplicatesConfig())
    assert (found.pairs, found.clusters, found.largest) == (60 * 59 // 2, 1, 60)
    assert (found.crossing_pairs, set(leaking)) == (2 * 58, set(range(2, 60)))
    assert len(found.examples) == 20


def test_a_very_large_group_is_one_group_in_which_every_leak_is_found() -> None:
    texts = [f"{text(3)} {number}" for number in range(700)]
    parts: dict[int, Part] = {n: ("held_out" if n % 20 == 5 else "train") for n in range(700)}
    found, leaking = find(texts, parts, NearDuplicatesConfig())
    assert (found.clusters, found.largest) == (1, 700)
    assert leaking == {number for number, part in parts.items() if part == "train"}
    assert 700 <= found.pairs < 700 * 699 // 2


def test_texts_without_words_and_short_ones_are_no_trouble() -> None:
    texts = ["...", "!!!", "one", "one!", "One two", ""]
    parts: dict[int, Part] = dict.fromkeys(range(len(texts)), "train")
    found, _ = find(texts, parts, NearDuplicatesConfig())
    assert (found.compared, found.pairs) == (3, 1)


def test_a_text_of_many_pieces_is_as_one() -> None:
    long = text(7, 10_000)
    parts: dict[int, Part] = {0: "train", 1: "held_out"}
    found, leaking = find([long, changed(long, 200)], parts, NearDuplicatesConfig())
    assert (found.pairs, set(leaking)) == (1, {0})


@given(
    documents=st.lists(
        st.tuples(st.integers(0, 7), st.sampled_from(["train", "held_out", None])), max_size=30
    ),
    size=st.integers(2, 9),
    skips=st.booleans(),
    data=st.data(),
)
def test_the_order_in_which_documents_come_does_not_matter(
    documents: list[tuple[int, Part | None]], size: int, skips: bool, data: st.DataObject
) -> None:
    config = NearDuplicatesConfig(documents=size, permutations=16)
    texts = [text(seed, 10) for seed, _ in documents]
    rows = signatures(texts, config)

    def sample_of(order: list[int]) -> Sample:
        sample = Sample(config)
        for number in order:
            key = digest(texts[number])[:24]
            if skips and position(key) >= sample.threshold:
                continue
            own = documents[number][1]
            sample.add(number, key, own, excerpt(texts[number]), rows[number])
        return sample

    samples = [sample_of(list(range(len(texts))))]
    samples.append(sample_of(data.draw(st.permutations(range(len(texts))))))
    smallest = sorted({position(digest(text)): text for text in texts}.items())[:size]
    # Those held out by the source stay before others, as they do in a corpus; or no copy of any.
    for part_of in (lambda number: documents[number][1] or "train", lambda number: None):
        (entries, signed), (others, other_signed) = (sample.kept(part_of) for sample in samples)
        assert entries == others
        np.testing.assert_array_equal(signed, other_signed)
        np.testing.assert_array_equal(signed, rows[[entry.number for entry in entries]])
    entries, _ = samples[1].kept(lambda _number: "train")
    expected = []
    for _, kept in smallest:
        copies = [number for number, one in enumerate(texts) if one == kept]
        held_out = [number for number in copies if documents[number][1] == "held_out"]
        expected.append((held_out or copies)[0])
    assert [entry.number for entry in entries] == sorted(expected)


def test_the_threshold_is_past_the_last_of_a_full_sample() -> None:
    config = NearDuplicatesConfig(documents=3, permutations=16)
    sample = Sample(config)
    texts = [text(seed, 10) for seed in range(8)]
    places = []
    for number, one in enumerate(texts):
        places.append(position(digest(one)))
        sample.add(number, digest(one), None, excerpt(one), signatures([one], config)[0])
        assert sample.threshold == (2**64 if number < 2 else sorted(places)[2] + 1)


def test_an_excerpt_is_how_a_text_begins() -> None:
    assert excerpt("\n\n  One, \t two\u00a0three\n") == "One, two three"
    assert excerpt(" \n") == excerpt("") == ""
    assert excerpt(" " * 10_000 + "far in") == "far in"
    assert excerpt("word " * 1000) == ("word " * 16)[:80]
    assert excerpt("x" * 1000) == "x" * 80


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_another_process_finds_the_same(hash_seed: str) -> None:
    program = (
        "import sys, importlib.util\n"
        "spec = importlib.util.spec_from_file_location('near_test', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "found = module.find(*module.example(), module.NearDuplicatesConfig())\n"
        "print(found[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, __file__],
        capture_output=True,
        check=True,
        text=True,
        env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.strip() == str(find(*example(), NearDuplicatesConfig())[0])
