"""Parts of a watch by themselves: when a group stands still, and what is kept of logs."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from retort.launch.launcher.watch.log_file import LogFile, LogLine, log_line, read_log
from retort.launch.launcher.watch.stall import Mark, Stall

STILL = Mark(step=4, pods=frozenset({"a", "b"}), lines=0)


def test_a_group_is_due_once_each_time_it_stands_still_and_three_times_at_one_step() -> None:
    stall = Stall(10)
    due = [second for second in range(100) if stall.is_due(STILL, second, live=True)]
    assert due == [10, 20, 30]
    onward = Mark(step=5, pods=STILL.pods, lines=0)
    due = [second for second in range(100, 200) if stall.is_due(onward, second, live=True)]
    assert due == [110, 120, 130]


def test_what_moves_or_does_not_run_is_not_due() -> None:
    stall = Stall(10)
    assert not any(stall.is_due(STILL, second, live=False) for second in range(100))
    for second in range(100):
        assert not stall.is_due(Mark(second, STILL.pods, 0), second, live=True)
    assert not any(Stall(None).is_due(STILL, second, live=True) for second in range(100))


LINES = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from("ab"), st.text("xyz \t\x1b", max_size=4)),
    max_size=12,
).map(
    lambda found: sorted(
        {LogLine(f"2026-01-31T12:00:0{time}.5Z", pod, text) for time, pod, text in found},
        key=lambda line: line.time,
    )
)


@given(LINES, st.integers(0, 12))
def test_lines_that_are_told_again_are_kept_once(lines: list[LogLine], half: int) -> None:
    kept = LogFile(None)
    assert all(kept.add(line) for line in lines[:half])
    assert [kept.add(line) for line in lines] == [number >= half for number in range(len(lines))]


def test_a_file_of_logs_is_gone_on_with_and_has_one_writer(tmp_path: Path) -> None:
    path = tmp_path / "news.log"
    first = log_line("a", b"2026-01-31T12:00:00.000000001Z \x1b[31mone\x1b[0m \x07two  three\r\n")
    assert first.text == "one \\x07two  three"
    writer, other = LogFile(path), LogFile(path)
    assert writer.add(first)
    assert other.add(first), "known to the other alone"
    writer.close()
    other.close()
    assert list(read_log(path)) == [first]
    with path.open("ab") as file:
        file.write(b"2026-01-31T12:00:01Z a half")
    again = LogFile(path)
    assert not again.add(first)
    assert again.since("a") == first.time
    second = log_line("b", b"2026-01-31T12:00:02.000000001Z whole")
    assert again.add(second)
    again.close()
    assert list(read_log(path)) == [first, second]
