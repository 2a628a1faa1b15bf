"""Environment variables that change the last bits of a result."""

from collections.abc import Mapping

from retort.core.errors import UserError

_ARITHMETIC_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "OMP_DYNAMIC",
    "OMP_THREAD_LIMIT",
    "ONEDNN_MAX_CPU_ISA",
)


def refuse_arithmetic_variables(environment: Mapping[str, str]) -> None:
    """Refuse variables that make libraries choose other kernels or fewer threads than asked for.

    Raises:
        UserError: one of them is set.
    """
    for name in _ARITHMETIC_VARIABLES:
        if name in environment:
            raise UserError(
                f"environment variable {name} changes the arithmetic and so the seal; unset it"
            )
