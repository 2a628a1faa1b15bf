"""What a process may have of its machine, by the limits that a container's control group says."""

import os
from pathlib import Path

import pytest

from retort.core import machine

ALLOWED = 6


@pytest.fixture(autouse=True)
def control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "_CONTROL_GROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(ALLOWED)))
    return tmp_path


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, ALLOWED),
        ({"cpu.max": "max 100000\n"}, ALLOWED),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "5000 100000\n"}, 1),
        ({"cpu.max": "9900000 100000\n"}, ALLOWED),
        ({"cpu.max": "nonsense"}, ALLOWED),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, ALLOWED),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
    ],
)
def test_processors_are_those_that_time_is_granted_on(
    control_groups: Path, limits: dict[str, str], expected: int
) -> None:
    for name, text in limits.items():
        (control_groups / name).parent.mkdir(exist_ok=True)
        (control_groups / name).write_text(text)
    assert machine.processors() == expected


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
def test_memory_is_what_a_limit_leaves(control_groups: Path, name: str) -> None:
    whole = machine.machine_memory()
    (control_groups / name).parent.mkdir(exist_ok=True)
    (control_groups / name).write_text("max\n")
    assert machine.machine_memory() == whole
    (control_groups / name).write_text("123456\n")
    assert machine.machine_memory() == 123456
