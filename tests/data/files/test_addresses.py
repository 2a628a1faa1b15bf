"""Paths, globs and fsspec addresses: the same files in the same order wherever they lie."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest

from retort.core.config import load_recipe
from retort.core.errors import ConfigError, DataError
from retort.data.config import DataConfig, FilesConfig
from retort.data.files.addresses import File, find_files, find_labelled
from retort.data.sources.read import stream_documents

NAMES = ["b/1.txt", "a/2.txt", "a-b/1.txt", "a/10.txt", "a/.hidden.txt", "a/other.md"]
LABELLED = ["a/.hidden.txt", "a/10.txt", "a/2.txt", "a-b/1.txt", "b/1.txt"]


@pytest.fixture
def roots(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The same files on disk, by `file:` and in `memory:`, written in different orders."""
    memory = fsspec.filesystem("memory")
    for name in NAMES:
        memory.pipe(f"/corpus/{name}", f"text of {name}".encode())
    for name in reversed(NAMES):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"text of {name}")
    yield {"": str(tmp_path), "file": f"file://{tmp_path}", "memory": "memory:///corpus"}
    memory.rm("/corpus", recursive=True)


def read(file: File) -> bytes:
    with file.open() as stream:
        return stream.read()


@pytest.mark.parametrize("kind", ["", "file", "memory"])
def test_files_are_found_in_the_order_of_their_names(roots: dict[str, str], kind: str) -> None:
    root = roots[kind]
    found = find_labelled([root], {}, Counter())
    assert [file.name for file in found] == LABELLED
    assert [file.directory for file in found] == ["a", "a", "a", "a-b", "b"]
    assert [read(file) for file in found] == [f"text of {name}".encode() for name in LABELLED]
    globbed = find_files([f"{root}/*/1*.txt", f"{root}/a/*.txt"], {})
    names = [file.name for file in globbed]
    assert names[:3] == ["a/10.txt", "a-b/1.txt", "b/1.txt"]
    assert names[3:] == [".hidden.txt", "2.txt"], "what was found before is not found again"
    assert all(file.address.startswith(root) for file in globbed)


@pytest.mark.parametrize("kind", ["", "file", "memory"])
def test_a_labelled_directory_may_lie_anywhere(roots: dict[str, str], kind: str) -> None:
    config = DataConfig(source="directory", files=FilesConfig(paths=(roots[kind],)), max_tokens=8)
    documents = list(stream_documents(config))
    assert [(one.text, one.label) for one in documents] == [
        (f"text of {name}", name.split("/")[0]) for name in LABELLED
    ]


@pytest.mark.parametrize("kind", ["", "file", "memory"])
def test_what_is_not_there_is_named(roots: dict[str, str], kind: str) -> None:
    root = roots[kind]
    for address, message in [
        (f"{root}/nothing.txt", "does not exist"),
        (f"{root}/*.parquet", "finds no file"),
        (f"{root}/a", "is a directory; name its files"),
    ]:
        with pytest.raises(DataError, match=message) as caught:
            find_files([address], {})
        assert str(caught.value).startswith(f"{address}: ")
    with pytest.raises(DataError, match=r"b/1\.txt: is not a directory"):
        find_labelled([f"{root}/b/1.txt"], {}, Counter())


def test_a_name_with_a_wildcard_in_it_is_a_name_first(tmp_path: Path) -> None:
    (tmp_path / "odd[1].txt").write_text("odd")
    (tmp_path / "odd1.txt").write_text("even")
    assert [read(file) for file in find_files([str(tmp_path / "odd[1].txt")], {})] == [b"odd"]


def test_an_address_of_no_known_storage_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"nowhere://x: cannot be read: Protocol not known: nowhere"
    ):
        find_files(["nowhere://x"], {})


def test_a_file_that_goes_away_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (found,) = find_files([str(tmp_path / "file")], {})
    (tmp_path / "file").unlink()
    with pytest.raises(DataError, match=r"/file: does not exist"):
        read(found)


def recipe(tmp_path: Path, text: str) -> DataConfig:
    (tmp_path / "recipe.yaml").write_text(text)
    return load_recipe(DataConfig, tmp_path / "recipe.yaml", [], tmp_path / "here").config


def test_relative_paths_start_where_the_user_is_and_addresses_stay(tmp_path: Path) -> None:
    config = recipe(
        tmp_path,
        "source: csv\nmax_tokens: 8\nfiles:\n  paths: [x/*.csv, 's3://bucket/y.csv', /z.csv]\n"
        "  held_out_paths: [test.csv]\n  label_names: {0: World, '1': Sports}\n",
    )
    assert config.files is not None
    here = tmp_path / "here"
    assert config.files.paths == (f"{here}/x/*.csv", "s3://bucket/y.csv", "/z.csv")
    assert config.files.held_out_paths == (f"{here}/test.csv",)
    assert config.files.label_names == {"0": "World", "1": "Sports"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source: csv", r"data\.files goes with data\.source: csv, and is missing"),
        ("source: imdb\nfiles: {paths: [x]}", r"data\.files goes with data\.source: directory or"),
        ("source: text\nfiles: {paths: [x], label: y}", r"data\.files\.label goes with"),
        ("source: text\nfiles: {paths: []}", "files.paths cannot be"),
        (
            "source: csv\nfiles: {paths: [s3://x/y], storage_options: {secret: abc}}",
            "storage_options cannot hold secret: a recipe is kept with the run",
        ),
        ("source: directory\ndirectory: x\nfiles: {paths: [x]}", "not both"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe(tmp_path, f"max_tokens: 8\n{text}\n")
