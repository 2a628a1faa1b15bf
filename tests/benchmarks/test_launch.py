"""The measurement of manifests runs each command and holds the rules to their time."""

from pathlib import Path

from benchmarks.launch.main import measure

CHECKOUT = Path(__file__).resolve().parents[2]


def test_each_command_is_measured() -> None:
    section = measure(CHECKOUT, 1)
    (target,) = section.targets
    assert target.what == "all overlays rendered and checked"
    rows = [line for line in section.text.splitlines() if line.startswith("| `")]
    assert [float(row.split("|")[2]) > 0 for row in rows] == [True] * 3
