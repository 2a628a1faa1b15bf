"""What a program takes is measured with all of its processes."""

import sys

import pytest

from benchmarks.process import run_measured

MEGABYTES = 200
FAMILY = f"""
import multiprocessing, time
def hold(_):
    held = bytearray(b"x") * {MEGABYTES} * 10**6
    end = time.process_time() + 0.5
    while time.process_time() < end:
        pass
    return len(held)
with multiprocessing.get_context("fork").Pool(2) as pool:
    pool.map(hold, range(2), chunksize=1)
    pool.close()
    pool.join()
print("done")
"""


def test_time_and_memory_of_children_count() -> None:
    usage, said = run_measured([sys.executable, "-c", FAMILY])
    assert said == "done\n"
    assert usage.cpu_seconds > 1.0
    assert MEGABYTES * 10**6 < usage.memory < 3 * MEGABYTES * 10**6


def test_pages_that_processes_share_count_once() -> None:
    shared = FAMILY.replace("def hold", f'held = bytearray(b"x") * {MEGABYTES} * 10**6\ndef hold')
    shared = shared.replace(f'    held = bytearray(b"x") * {MEGABYTES} * 10**6\n', "")
    usage, _ = run_measured([sys.executable, "-c", shared])
    assert MEGABYTES * 10**6 < usage.memory < 1.5 * MEGABYTES * 10**6


def test_a_program_starts_in_an_empty_home_and_imports_what_this_one_can() -> None:
    code = "import os, benchmarks.process; print(sorted(os.listdir()), os.environ['HOME'] == os.getcwd())"
    _, said = run_measured([sys.executable, "-c", code])
    assert said == "['stderr.txt', 'stdout.txt'] True\n"


def test_a_program_that_fails_tells_why() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)ended with 3:.*out of luck"):
        run_measured(
            [sys.executable, "-c", "import sys; print('out of luck', file=sys.stderr); sys.exit(3)"]
        )
