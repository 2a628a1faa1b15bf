"""Pictures of a run: what is written on them lies on no curve."""

import re

import pytest

from retort.evaluate.report.training_plots import evaluations_picture


@pytest.mark.parametrize("best", [2, 6, 10, 20])
@pytest.mark.parametrize("shares", [True, False])
def test_the_best_step_is_named_above_the_frame_and_inside_the_picture(
    best: int, shares: bool
) -> None:
    steps = list(range(2, 22, 2))
    curve = [0.5 + (step == best) / 4 for step in steps]
    picture = evaluations_picture(steps, curve, curve if shares else None, best)
    label = re.search(r'text-anchor: (\w+)[^>]* x="([\d.]+)" y="([\d.]+)"[^>]*>best: step', picture)
    frame = re.search(
        r'<g id="patch_2">\s*<path d="M [\d.]+ [\d.]+ \nL [\d.]+ [\d.]+ \nL [\d.]+ ([\d.]+)',
        picture,
    )
    assert label is not None and frame is not None
    assert 0 < float(label[3]) < float(frame[1])
    width = 130
    left = {"start": 0.0, "middle": width / 2, "end": float(width)}[label[1]]
    assert left < float(label[2]) < 576 - width + left
