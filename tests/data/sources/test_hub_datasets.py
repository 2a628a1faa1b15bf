"""Data sets of the hub, read by processes that take a server of this one for it."""

import gzip
import json
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow  # type: ignore[import-untyped]
import pytest
from datasets import ClassLabel, Dataset, Features, Value  # type: ignore[import-untyped]
from pyarrow import parquet
from pydantic import ValidationError

from retort.core.config import load_recipe
from retort.core.errors import ConfigError, HubUnavailable, StorageError
from retort.core.forks.client import run
from retort.data.config import CorpusConfig
from retort.data.files.decoding import Decoder
from retort.data.preparation.recipe import PreparationRecipe
from retort.data.sources.hub_datasets import read_hub
from retort.data.store.store import TokenStore
from tests.processes.forks import PREPARATION, fork_server_for
from tests.processes.prepare import prepare, start, write_recipe
from tests.tiny.hub import Hub, serving
from tests.tiny.store import bert_tokenizer

# What `datasets` imports, less what reads the variables of the hub when it is imported.
LIBRARIES = ("multiprocess", "pandas", "pyarrow.dataset", "pyarrow.parquet")
server = fork_server_for(*PREPARATION, *LIBRARIES)

AG_NEWS = "eb185aade064a813bc0b7f42de02595523103ca4"
AG_NEWS_FILES = [f"data/{part}-00000-of-00001.parquet" for part in ("train", "test")]
AG_NEWS_ROWS = {
    "train": [("Shares rise", 2), ("Cup won", 1), ("Chip sold", 3)],
    "test": [("Talks end", 0), ("Cup lost", 1)],
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILMS = {"hub": "some/films", "revision": COMMIT, "text": "said"}
"""Less the column of the label."""
CARD = """---
configs:
- config_name: scenes
  default: true
  data_files:
  - {split: train, path: scenes/train-*}
  - {split: test, path: scenes/test-*}
- config_name: away
  data_files:
  - {split: train, path: "hf://datasets/some/films@main/scenes/*"}
---
"""
LINES_CARD = """---
dataset_info:
  features:
  - {name: said, dtype: string}
  - {name: kind, dtype: {class_label: {names: {'0': bad, '1': good}}}}
  splits: [{name: train}]
---
"""


def as_parquet(file: Path, rows: dict[str, list[Any]], features: Features | None = None) -> bytes:
    Dataset.from_dict(rows, features).to_parquet(file)
    return file.read_bytes()


@pytest.fixture
def ag_news(tmp_path: Path) -> Iterator[Hub]:
    columns: dict[str, dict[str, list[Any]]] = {
        part: {"text": [row[0] for row in rows], "label": [row[1] for row in rows]}
        for part, rows in AG_NEWS_ROWS.items()
    }
    contents = [as_parquet(tmp_path / "file", one) for one in columns.values()]
    with serving(
        "fancyzhx/ag_news", AG_NEWS, dict(zip(AG_NEWS_FILES, contents, strict=True))
    ) as hub:
        yield hub


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """Two files of one split and one of another, with columns of all kinds."""
    file = tmp_path_factory.mktemp("films") / "file"
    features = Features(
        {
            "said": Value("string"),
            "kind": ClassLabel(names=["bad", "good"]),
            "year": Value("int32"),
            "word": Value("string"),
            "score": Value("float32"),
            "cast": [Value("string")],
        }
    )

    def scenes(*rows: tuple[str | None, int]) -> bytes:
        count = len(rows)
        columns: dict[str, list[Any]] = {
            "said": [row[0] for row in rows],
            "kind": [row[1] for row in rows],
            "year": [2000 + number for number in range(count)],
            "word": ["new"] * (count - 1) + [""],
            "score": [0.5] * count,
            "cast": [["a"]] * count,
        }
        return as_parquet(file, columns, features)

    files = {
        "README.md": CARD.encode(),
        "scenes/train-00000-of-00002.parquet": scenes(("one good film", 1), ("a bad film", 0)),
        "scenes/train-00001-of-00002.parquet": scenes(("two good films", 1)),
        "scenes/test-00000-of-00001.parquet": scenes(("no label", -1), (None, 1), ("last", 1)),
    }
    with serving("some/films", COMMIT, files) as hub:
        yield hub


@pytest.fixture
def environment(films: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Processes that are started take `films` for the hub; the home of its cache."""
    films.status = 200
    films.asked.clear()
    monkeypatch.setenv("HF_ENDPOINT", films.endpoint)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def read_all(*configs: dict[str, Any]) -> list[Any]:
    """Documents and bad rows of each source, or an error, read by one process."""
    done = run(["tests.processes.read_sources", *map(json.dumps, configs)])
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_any_data_set_is_read_with_the_names_of_its_classes(films: Hub, environment: Path) -> None:
    named = {**FILMS, "label": "kind"}
    train = [["one good film", "good"], ["a bad film", "bad"], ["two good films", "good"]]
    whole, years, words, unlabelled = read_all(
        {"source": named},
        {"source": {**FILMS, "label": "year"}},
        {"source": {**FILMS, "text": "word"}},
        {"source": FILMS},
    )
    assert whole == [[[*one, None] for one in train], {}]
    assert [label for _, label, _ in years[0]] == ["2000", "2001", "2000"]
    assert [text for text, _, _ in words[0]] == ["new", "", ""], "empty ones are counted later"
    assert {label for _, label, _ in unlabelled[0]} == {None}
    asked = [name for name in films.asked if name != "README.md"]
    assert len(asked) == len(set(asked)) == 2, "and then they are in the cache"


@pytest.mark.parametrize("card", ["", LINES_CARD])
def test_lines_of_json_are_read_with_the_classes_that_the_card_names(
    card: str, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [{"said": "hello there", "kind": 1}, {"said": "go away", "kind": 0}]
    packed = gzip.compress("\n".join(map(json.dumps, lines)).encode())
    files = {"train.jsonl.gz": packed, **({"README.md": card.encode()} if card else {})}
    with serving("some/films", COMMIT, files) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        named = {**FILMS, "label": "kind"}
        found, streamed, wrong = read_all(
            {"source": named},
            {"source": {**named, "streaming": True}},
            {"source": {**named, "text": "sayed"}},
        )
    classes = ("bad", "good") if card else ("0", "1")
    expected = [["hello there", classes[1], None], ["go away", classes[0], None]]
    assert found == streamed == [expected, {}]
    assert "some/films/train: has no column 'sayed'; did you mean said?" in wrong


def test_streaming_keeps_no_file_and_reads_the_same(films: Hub, environment: Path) -> None:
    source = {**FILMS, "label": "kind", "held_out_split": "test"}
    config = {"source": source, "bad_rows": "drop"}
    streamed = {**config, "source": {**source, "streaming": True}}
    (flowing,) = read_all(streamed)
    assert not [
        path for path in environment.rglob("*") if path.is_file() and b"PAR1" in path.read_bytes()
    ]
    (kept,) = read_all(config)
    assert flowing == kept
    documents, bad = kept
    assert [(text, part) for text, _, part in documents] == [
        ("one good film", "train"),
        ("a bad film", "train"),
        ("two good films", "train"),
        ("last", "held_out"),
    ]
    assert bad == {"label of no class": 1, "text is null": 1}


def test_what_cannot_be_read_is_one_line_that_says_what_to_do(
    films: Hub, environment: Path
) -> None:
    cases = {
        "some/films/train: has no column 'sayed'; did you mean said? allowed: said, kind": {
            "text": "sayed"
        },
        "some/films/train: has no column 'kindd'; did you mean kind?": {"label": "kindd"},
        "some/films/train: column 'year' is of type int32, which is not text": {"text": "year"},
        "some/films/train: column 'cast' is of type list<": {"label": "cast"},
        "some/films/train: row 1: the label is 0.5; a word or a whole number is needed": {
            "label": "score"
        },
        "some/films/train: row 2: the label is ''; a word or a whole number is needed": {
            "label": "word"
        },
        "some/films/test: row 1: the label is -1, and the classes are numbered from 0 to 1": {
            "label": "kind",
            "split": "test",
        },
        "some/films/test: row 2: column 'said' is null": {"split": "test"},
        "some/films: has no split 'dev'; allowed: train, test": {"split": "train+dev"},
        "some/films: data.source.subset: BuilderConfig 'acts' not found. Available: ['scenes'": {
            "subset": "acts"
        },
        "some/films: has files elsewhere, which no commit of it pins": {"subset": "away"},
        "dataset some/films is not in the local cache, and the hub has no commit ffff": {
            "revision": "f" * 40
        },
        "dataset some/film is not in the local cache, and the hub has none of this name": {
            "hub": "some/film"
        },
        "dataset so--me/films is not in the local cache, and the hub has no such names": {
            "hub": "so--me/films"
        },
    }
    found = read_all(*({"source": {**FILMS, **case}} for case in cases.values()))
    for expected, error in zip(cases, found, strict=True):
        assert isinstance(error, str), (expected, error)
        assert expected in error
        assert "\n" not in error


def test_files_that_are_no_data_set_are_refused(
    films: Hub, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = films.files["scenes/train-00001-of-00002.parquet"]
    broken = {**films.files, "scenes/train-00001-of-00002.parquet": whole[:-30]}
    with serving("some/films", COMMIT, broken) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        (error,) = read_all({"source": FILMS})
    assert error.startswith("DataError: some/films: cannot be read as a data set: ")
    assert "\n" not in error
    with serving("some/films", COMMIT, {"notes.bin": b"x"}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        (error,) = read_all({"source": FILMS})
    assert error.startswith("DataError: some/films: cannot be read as a data set: ")


def test_a_directory_that_is_called_as_the_data_set_is_not_taken_for_it(
    films: Hub, environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some" / "films").mkdir(parents=True)
    (tmp_path / "some" / "films" / "train.csv").write_text("said\nnot this\n")
    monkeypatch.chdir(tmp_path)
    (found,) = read_all({"source": FILMS})
    assert len(found[0]) == 3


def test_a_revision_is_a_full_commit_or_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    recipe = tmp_path / "recipe.yaml"
    text = "data:\n  source: {hub: some/films, revision: REVISION, text: said}\n"
    for wrong in ("main", "a1b2c3d", COMMIT.upper(), f"{COMMIT}0", "v1.0"):
        recipe.write_text(f"{text}tokenizer: {{file: tokenizer.json}}\n".replace("REVISION", wrong))
        with pytest.raises(ConfigError) as caught:
            load_recipe(PreparationRecipe, recipe, [], tmp_path)
        assert str(caught.value).startswith(
            f"{recipe}: data.source.revision: '{wrong}' is no full commit SHA of 40 hexadecimal"
        )
    recipe.write_text(f"{text}tokenizer: {{file: tokenizer.json}}\n".replace("REVISION", COMMIT))
    config = load_recipe(PreparationRecipe, recipe, ["data.source.label=kind"], tmp_path).config
    assert (config.data.name, config.data.label) == ("some/films", "kind")
    for override, message in (
        ("data.source.lable=kind", "unknown key data.source.lable; did you mean label? allowed: "),
        ("data.source.hub=films", "data.source.hub cannot be 'films': string should match"),
        ("data.source.held_out_split=train", "train is in split and in held_out_split"),
        ("data.source.split=train[:10%]", "data.source.split cannot be 'train[:10%]'"),
        ("data.source={hub: some/films}", "key data.source.revision is missing"),
        ("data.source=x", "data.source cannot be 'x'; allowed: bbc_news, "),
        ("data.source=5", "data.source cannot be 5; allowed: bbc_news, "),
    ):
        with pytest.raises(ConfigError) as caught:
            load_recipe(PreparationRecipe, recipe, [override], tmp_path)
        assert message in str(caught.value)
    with pytest.raises(ValidationError, match="has no test set of its own"):
        CorpusConfig.model_validate({"source": {**FILMS, "held_out_split": "test"}, "fold": 1})


def test_a_store_of_the_hub_has_one_seal_streamed_or_not(
    films: Hub, environment: Path, tmp_path: Path
) -> None:
    source = {**FILMS, "label": "kind"}
    given = {"source": source, "held_out": 0.4, "near_duplicates": {"action": "ignore"}}
    seals = []
    for streaming in (False, True):
        values = {**given, "source": {**source, "split": "train+test", "streaming": streaming}}
        with serving("some/films", COMMIT, labelled_lines()) as hub:
            os.environ["HF_ENDPOINT"] = hub.endpoint
            recipe = write_recipe(tmp_path, CorpusConfig.model_validate(values), bert_tokenizer())
            seals.append(prepare(recipe, tmp_path / f"store-{streaming}"))
    assert seals[0] == seals[1]
    store = TokenStore.open(tmp_path / "store-True")
    assert store.labels == ("a", "b")
    assert store.sealed.manifest.config["data"]["source"] == {  # type: ignore[index, call-overload]
        **source,
        "split": "train+test",
        "subset": None,
        "held_out_split": None,
    }


def labelled_lines() -> dict[str, bytes]:
    """CSV files, which tell nothing of their columns before they are read."""
    return {
        f"{split}.csv": "\n".join(
            [
                "said,kind",
                *(f"the {split} match {number},{'ab'[number % 2]}" for number in range(40)),
            ]
        ).encode()
        for split in ("train", "test")
    }


def test_without_a_hub_preparing_ends_in_one_line_and_leaves_nothing(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(
        tmp_path / "recipe", CorpusConfig.model_validate({"source": FILMS}), bert_tokenizer()
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        process = start(recipe, tmp_path / "store")
        output, errors = process.communicate()
    (line,) = [one for one in errors.splitlines() if "error:" in one]
    assert (process.returncode, output) == (2, "")
    assert "dataset some/films is not in the local cache, and the hub cannot be reached" in line
    assert not (tmp_path / "store").exists()


def test_a_known_data_set_comes_from_the_hub_once_and_then_from_the_cache(
    ag_news: Hub, tmp_path: Path
) -> None:
    def documents(cache: Path) -> list[tuple[str, str | None, str | None]]:
        found = read_hub("ag_news", Decoder("refuse"), ag_news.endpoint, cache)
        return [(record.text, record.label, part) for part, record in found]

    fetched = documents(tmp_path / "cache")
    assert fetched == [
        ("Shares rise", "Business", "train"),
        ("Cup won", "Sports", "train"),
        ("Chip sold", "Sci/Tech", "train"),
        ("Talks end", "World", "held_out"),
        ("Cup lost", "Sports", "held_out"),
    ]
    ag_news.status = 503
    assert documents(tmp_path / "cache") == fetched
    with pytest.raises(HubUnavailable):
        documents(tmp_path / "another cache")


MEASURED = """
import resource, sys
from pathlib import Path
from retort.data.config import HubSource
from retort.data.files.decoding import Decoder
from retort.data.sources.hub_datasets import read_hub

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

source = HubSource(**eval(sys.argv[1])) if "{" in sys.argv[1] else sys.argv[1]
records = read_hub(source, Decoder("refuse"), sys.argv[2], Path(sys.argv[3]))
first = len(next(records)[1].text)
before = peak()
print(first + sum(len(one.text) for _, one in records), peak() - before)
"""


@pytest.mark.parametrize("source", ["ag_news", "cached", "streamed"])
def test_a_data_set_takes_no_memory_by_its_size(source: str, tmp_path: Path) -> None:
    chance = random.Random(0)
    schema = pyarrow.schema([("text", pyarrow.string()), ("label", pyarrow.int64())])
    with parquet.ParquetWriter(tmp_path / "large", schema, compression="none") as writer:
        for _ in range(100):
            texts = [chance.randbytes(500).hex() for _ in range(1000)]
            table = pyarrow.table({"text": texts, "label": [1] * 1000}, schema)
            writer.write_table(table)
    content = (tmp_path / "large").read_bytes()
    assert len(content) > 100 * 10**6
    named = {"hub": "fancyzhx/ag_news", "revision": AG_NEWS, "held_out_split": "test"}
    asked = source if source == "ag_news" else str({**named, "streaming": source == "streamed"})
    with serving("fancyzhx/ag_news", AG_NEWS, dict.fromkeys(AG_NEWS_FILES, content)) as hub:
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, asked, hub.endpoint, str(tmp_path / "cache")],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")},
        )
    shutil.rmtree(tmp_path / "home", ignore_errors=True)
    assert done.returncode == 0, done.stderr
    characters, growth = map(int, done.stdout.split())
    assert characters == 2 * 100 * 10**6
    assert growth < 40 * 10**6


def test_a_cache_that_cannot_be_written_is_named(ag_news: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cache cannot be written: .*file/below"):
        list(read_hub("ag_news", Decoder("refuse"), ag_news.endpoint, tmp_path / "file" / "below"))
