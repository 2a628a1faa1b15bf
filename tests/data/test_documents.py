"""A part that depends on each document alone, and labels that can be learned."""

import hashlib

import pytest

from retort.core.errors import DataError
from retort.data.documents import Document, check_label, labels_of, part_of

MANY = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(2000)]


def test_a_documents_digest_is_that_of_its_text() -> None:
    expected = hashlib.sha256("caf\u00e9\r\n".encode()).hexdigest()
    assert Document("caf\u00e9\r\n", "a", "train").digest == expected


def test_the_share_held_out_is_about_the_one_asked_for() -> None:
    for share in (0.05, 0.2, 0.5):
        held_out = sum(part_of(digest, share) == "held_out" for digest in MANY)
        deviation = (2000 * share * (1 - share)) ** 0.5
        assert abs(held_out - 2000 * share) < 4 * deviation


def test_a_larger_share_holds_out_all_that_a_smaller_one_does() -> None:
    small, large = (
        {digest for digest in MANY if part_of(digest, share) == "held_out"} for share in (0.1, 0.3)
    )
    assert small < large


def test_labels_are_sorted() -> None:
    assert labels_of({"train": {"z", "a"}, "held_out": {"a", "z"}}) == ("a", "z")


def test_what_cannot_be_learned_from_is_refused() -> None:
    with pytest.raises(DataError, match=r"two labels or more are needed; there are \['a'\]"):
        labels_of({"train": {"a"}, "held_out": {"a"}})
    with pytest.raises(DataError, match="no document of label 'lonely' falls in the held_out part"):
        labels_of({"train": {"a", "lonely"}, "held_out": {"a"}})
    with pytest.raises(DataError, match=r"without labels cannot be classified.*data\.files\.label"):
        labels_of({"train": {"a", None}, "held_out": {"a"}})


def test_a_label_that_is_not_allowed_is_refused_with_the_nearest() -> None:
    check_label("sports", "here", ("sports", "tech"))
    with pytest.raises(
        DataError, match="here: has the label 'sport'; did you mean sports\\? allowed: sports, te"
    ):
        check_label("sport", "here", ("sports", "tech"))
    with pytest.raises(DataError, match="here: has the label None; allowed: sports"):
        check_label(None, "here", ("sports",))
