"""The sealed data set: the same documents give the same seal, and it reads back as it was."""

import shutil
from pathlib import Path

import pytest

from retort.core.errors import DataError, SealError
from retort.core.seal import sealing
from retort.data.config import DataConfig
from retort.data.dataset import load_dataset, prepare_dataset
from tests.tiny import write_documents


def config(directory: Path, labels: tuple[str, ...] | None = None) -> DataConfig:
    return DataConfig(source="directory", directory=directory, labels=labels, max_tokens=8)


def test_a_data_set_reads_back_as_it_was_prepared(tmp_path: Path) -> None:
    documents = write_documents(tmp_path / "documents")
    (documents / "tech" / "copy.txt").write_bytes((documents / "tech" / "000.txt").read_bytes())
    (documents / "tech" / "empty.txt").write_bytes(b" \n")
    (documents / "tech" / "odd.txt").write_bytes(b"separators \x85 \xe2 \x1c \x0c and \r\n ends")
    prepared = prepare_dataset(config(documents), tmp_path / "dataset")
    assert prepared == load_dataset(tmp_path / "dataset")
    facts = prepared.facts
    assert (facts.documents, facts.duplicates, facts.empty, facts.not_utf8) == (63, 1, 1, 1)
    assert len(prepared.train) + len(prepared.held_out) == 61
    assert not {one.digest for one in prepared.train} & {one.digest for one in prepared.held_out}
    assert prepared.labels == ("sport", "tech")
    targets = prepared.targets(prepared.train)
    assert [prepared.labels[number] for number in targets] == [one.label for one in prepared.train]


def test_the_seal_follows_the_documents_and_not_their_place(tmp_path: Path) -> None:
    first = write_documents(tmp_path / "documents")
    second = Path(shutil.copytree(first, tmp_path / "else" / "where"))
    (second / "sport" / "000.txt").rename(second / "sport" / "renamed.txt")
    seals = [
        prepare_dataset(config(root), tmp_path / f"dataset{number}").sealed.seal
        for number, root in enumerate([first, second])
    ]
    assert seals[0] == seals[1]
    write_documents(second, count=1, first=30)
    after = prepare_dataset(config(second), tmp_path / "dataset2")
    assert after.sealed.seal != seals[0]
    before = load_dataset(tmp_path / "dataset0")
    assert set(before.train) < set(after.train) | set(after.held_out)
    assert set(before.held_out) <= set(after.held_out)


def test_a_label_that_is_not_allowed_leaves_nothing_behind(tmp_path: Path) -> None:
    documents = write_documents(tmp_path / "documents")
    with pytest.raises(DataError, match="label 'sport'; did you mean sports"):
        prepare_dataset(config(documents, ("sports", "tech")), tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()


def test_what_is_sealed_but_not_a_data_set_is_refused(tmp_path: Path) -> None:
    for name, content in [("facts.json", b"[]"), ("facts.json", b'{"labels":[]}'), ("x", b"")]:
        with sealing(tmp_path / "made", kind="dataset", inputs={}, config={}) as directory:
            (directory / name).write_bytes(content)
        with pytest.raises(SealError, match="made"):
            load_dataset(tmp_path / "made")
