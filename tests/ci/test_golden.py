"""Published seals of portable arithmetic: which they are, and what is said of others."""

import json
import re

from tools.ci.golden import README, RUNS, SEALS, differing


def test_every_run_has_a_published_seal_and_nothing_else_has() -> None:
    published = json.loads(SEALS.read_text(encoding="utf-8"))
    assert published.keys() == RUNS.keys()
    assert all(re.fullmatch("sha256:[0-9a-f]{64}", seal) for seal in published.values())


def test_readme_shows_the_seal_of_its_first_command() -> None:
    published = json.loads(SEALS.read_text(encoding="utf-8"))
    assert f"\nseal {published['smoke']} /" in README.read_text(encoding="utf-8")


def test_each_run_that_is_not_as_published_is_named() -> None:
    found = {"a": "x", "b": "y"}
    assert differing(found, {"a": "x", "b": "z"}) == ["b: y is not the published z"]
    assert differing(found, {"a": "x"}) == ["b: y is not the published seal: there is none"]
    assert not differing(found, found)
