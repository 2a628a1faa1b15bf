"""Numbers and matrices that tests of kernels draw, and how far a result is from the exact one."""

import torch
from hypothesis import strategies as st
from torch import Tensor

SPECIAL = (
    0.0,
    -0.0,
    float("inf"),
    -float("inf"),
    float("nan"),
    1e-45,
    -1e-45,
    3.4e38,
    -3.4e38,
    1.2e-38,
)


def numbers(seed: int, *shape: int, special: float = 0.0) -> Tensor:
    """Of many magnitudes, some of them special."""
    drawn = torch.Generator().manual_seed(seed)
    numbers = torch.randn(shape, generator=drawn)
    numbers *= 2.0 ** torch.randint(-12, 12, shape, generator=drawn)
    chosen = torch.rand(shape, generator=drawn) < special
    kinds = torch.tensor(SPECIAL)[torch.randint(len(SPECIAL), shape, generator=drawn)]
    return torch.where(chosen, kinds, numbers)


def plain(matrix: Tensor) -> Tensor:
    return matrix


def transposed(matrix: Tensor) -> Tensor:
    return matrix.t().contiguous().t()


def inside(matrix: Tensor) -> Tensor:
    """Every second column of a larger matrix, from its second row on."""
    rows, columns = matrix.shape
    larger = torch.full((rows + 3, 2 * columns + 5), float("nan"))
    view = larger[1 : 1 + rows, 3 : 3 + 2 * columns : 2]
    view.copy_(matrix)
    return view


LAID = st.sampled_from([plain, transposed, inside])
"""The same matrix by other strides."""


def error_in_units(found: Tensor, exact: Tensor) -> float:
    """In units of the last place of the exact result, but at least half of one, which rounding costs.

    Where that is no finite number, they must be the same.
    """
    rounded = exact.float()
    differ = (found != rounded) & ~(found.isnan() & rounded.isnan())
    found, exact, size = found[differ], exact[differ], rounded[differ].abs()
    assert found.isfinite().all()
    assert size.isfinite().all()
    unit = torch.nextafter(size, torch.tensor(float("inf"))).double() - size.double()
    away = (found.double() - exact).abs() / unit
    return max(0.5, away.max().item()) if len(away) else 0.5
