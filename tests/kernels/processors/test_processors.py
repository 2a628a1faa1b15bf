"""Kernels give the same bits on processors of other makers and another architecture, which QEMU plays.

The battery is the kernels' own sources, compiled as they are for a library, with a program that calls each of them.
"""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PLAYED: Mapping[str, tuple[str, ...]] = {
    "neon": ("qemu-aarch64", str(HERE / "battery_aarch64.elf")),
    "Haswell": ("qemu-x86_64", "-cpu", "Haswell", str(HERE / "battery_x86_64.elf")),
    "EPYC": ("qemu-x86_64", "-cpu", "EPYC", str(HERE / "battery_x86_64.elf")),
    "Skylake-Client": ("qemu-x86_64", "-cpu", "Skylake-Client", str(HERE / "battery_x86_64.elf")),
}


def digests(command: Sequence[str]) -> dict[str, list[str]]:
    """Of each instruction set what it told, in order."""
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    told: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        instructions, _, rest = line.partition(" ")
        told.setdefault(instructions, []).append(rest)
    return told


@pytest.fixture(scope="module")
def here() -> list[str]:
    """What this processor's oldest instruction set tells, with which all others of it agree."""
    told = digests([str(HERE / f"battery_{platform.machine()}.elf")])
    first, *others = told.values()
    assert len(first) > 50
    for other in others:
        assert other == first
    return first


def test_this_processors_instruction_sets_agree(here: list[str]) -> None:
    assert len(set(here)) > 40, "numbers that are not all zero"


@pytest.mark.parametrize("processor", PLAYED)
def test_another_processor_agrees(processor: str, here: list[str]) -> None:
    command = PLAYED[processor]
    assert shutil.which(command[0]), f"install qemu-user, which has {command[0]}"
    told = digests(command)
    assert list(told.values()) == [here]
    assert list(told) == ["neon" if processor == "neon" else "avx2"]


def test_arm_flushes_where_x86_does() -> None:
    """QEMU's x86 looks for what is tiny before rounding, which no processor of that kind does."""
    first, *others = digests([str(HERE / f"battery_{platform.machine()}.elf"), "edges"]).values()
    assert len(set(first)) == 2, "two are the least normal number, and one is zero"
    played = digests([*PLAYED["neon"], "edges"])
    assert [*others, *played.values()] == [first] * (len(others) + 1)


@pytest.mark.parametrize("processor", ["Nehalem", "SandyBridge"])
def test_a_processor_without_avx2_or_fma_is_told_in_one_line(processor: str) -> None:
    program = "from retort.kernels.library import usable\nusable()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["qemu-x86_64", "-cpu", processor, sys.executable, "-c", program],
        env=environment,
        stderr=subprocess.PIPE,
        check=False,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "retort.core.errors.UserError: this processor lacks AVX2 or FMA"
    )
