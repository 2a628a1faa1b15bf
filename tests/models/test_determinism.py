"""What fixes the last bits."""

import pytest
import torch

from retort.core.errors import UserError
from retort.models.arithmetic_variables import refuse_arithmetic_variables
from retort.models.determinism import fix_arithmetic, seed_from


def test_threads_are_those_asked_for() -> None:
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            fix_arithmetic(threads)
            assert torch.get_num_threads() == threads
            assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.set_num_threads(before)


def test_a_variable_that_changes_the_arithmetic_is_refused_by_name() -> None:
    refuse_arithmetic_variables({"OMP_NUM_THREADS": "1", "PATH": "/bin"})
    with pytest.raises(UserError, match="environment variable MKL_CBWR changes the arithmetic"):
        refuse_arithmetic_variables({"MKL_CBWR": "COMPATIBLE"})


def test_every_part_of_a_seed_counts() -> None:
    parts = [(0,), (1,), (0, 0), (0, 1), (1, 0), (0, "head"), (0, "dropout", 1), (0, "dropout", 2)]
    seeds = {seed_from(*one) for one in parts}
    assert len(seeds) == len(parts)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_from(0, "dropout", 1) == seed_from(0, "dropout", 1)
