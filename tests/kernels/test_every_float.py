"""Every float32 there is: functions are within two units of the last place, and instruction sets agree."""

import pytest
import torch

from retort.kernels.elementwise import apply
from retort.kernels.library import usable
from tests.kernels.drawn import error_in_units

_EACH = 2**24
_EXACT = {"exp": torch.exp, "log": torch.log, "erf": torch.erf, "tanh": torch.tanh}
_LEAST_EXPECTED = 0.5


@pytest.mark.parametrize("function", _EXACT)
def test_of_every_float_a_function_is_within_two_units_of_the_last_place(function: str) -> None:
    worst = 0.0
    for begin in range(-(2**31), 2**31, _EACH):
        x = torch.arange(begin, begin + _EACH).to(torch.int32).view(torch.float32)
        found, *others = (apply(function, x, by=by) for by in usable())
        for other in others:
            differ = other.view(torch.int32) != found.view(torch.int32)
            assert other[differ].isnan().all()
            assert found[differ].isnan().all()
        worst = max(worst, error_in_units(found, _EXACT[function](x.double())))
    print(f"{function}: {worst:.3f} units of the last place")
    assert _LEAST_EXPECTED < worst < 2, "the control: no rounding is better than half a unit"
