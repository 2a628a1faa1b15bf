"""A writer that is killed at any moment leaves no wrong store, and its work is taken up."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from retort.core.seal import verify
from retort.data.shards import ShardSizes
from retort.data.store import TokenStore
from retort.data.store_writer import write_store
from tests.tiny_store import LABELS, bert_tokenizer, documents

COUNT = 2000
SIZES = ShardSizes(least=1000, spread=2000, most=8000)
WRITER = f"""
import sys
from pathlib import Path
from retort.data.shards import ShardSizes
from retort.data.store_writer import write_store
from tests.tiny_store import LABELS, bert_tokenizer, documents

if __name__ == "__main__":
    written = write_store(
        Path(sys.argv[1]),
        documents({COUNT}),
        tokenizer=bert_tokenizer(),
        labels=LABELS,
        workers=int(sys.argv[2]),
        sizes={SIZES!r},
        progress=lambda done, tokens: print(done, flush=True),
    )
    print("done", flush=True)
"""


def start(target: Path, workers: int) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(target), str(workers)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_ten_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    target = tmp_path / "store"
    whole = write_store(
        tmp_path / "whole",
        documents(COUNT),
        tokenizer=bert_tokenizer(),
        labels=LABELS,
        sizes=SIZES,
    )
    shards = len(list((tmp_path / "whole" / "shards").iterdir()))
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    kept = 0
    for number in range(10):
        writer = start(target, workers=chance.choice([1, 2]))
        assert writer.stdout is not None
        for _ in range(chance.randint(1, shards)):
            writer.stdout.readline()
        time.sleep(chance.uniform(0, 0.05))
        writer.kill()
        code = writer.wait()
        writer.stdout.close()
        assert code in (0, -signal.SIGKILL)
        where = f"kill {number} of seed {seed}"
        if target.exists():
            assert verify(target).seal == whole.sealed.seal, where
            shutil.rmtree(target)
        else:
            kept += any((tmp_path / ".store.work").iterdir())
    assert kept > 0, "no kill came in the middle of the work"
    resumed = write_store(
        target, documents(COUNT), tokenizer=bert_tokenizer(), labels=LABELS, sizes=SIZES
    )
    assert resumed.sealed.seal == whole.sealed.seal, f"seed {seed}"
    assert TokenStore.open(target).facts == TokenStore.open(tmp_path / "whole").facts
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "whole"]


def test_what_a_killed_writer_finished_is_not_tokenised_again(tmp_path: Path) -> None:
    writer = start(tmp_path / "store", workers=2)
    assert writer.stdout is not None
    finished = [int(writer.stdout.readline()) for _ in range(20)][-1]
    writer.kill()
    writer.wait()
    writer.stdout.close()
    resumed = write_store(
        tmp_path / "store",
        documents(COUNT),
        tokenizer=bert_tokenizer(),
        labels=LABELS,
        sizes=SIZES,
    )
    assert resumed.reused >= finished
    assert resumed.tokenised + resumed.reused == COUNT
