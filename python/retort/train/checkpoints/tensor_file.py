"""A safetensors file that several processes fill at once, each its own runs of elements.

The format is eight bytes with the length of a JSON header, the header with dtype, shape and place
of every tensor, and the tensors (huggingface/safetensors, "Format"). All of it but the values is
known beforehand, so a file can be laid out first and filled in any order.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

_DTYPES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""In the order in which safetensors lays them out, so that all is aligned: widest first."""
_RANKS = {dtype: rank for rank, dtype in enumerate(_DTYPES)}


@dataclass(frozen=True)
class TensorSpec:
    """What is known of a tensor before its values."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> "TensorSpec":
        """Of a tensor that is there."""
        return cls(tensor.dtype, tuple(tensor.shape))

    @property
    def nbytes(self) -> int:
        """Length of the values in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


class TensorFile:
    """The layout of a file: the same bytes as safetensors itself would write for these tensors."""

    def __init__(self, specs: Mapping[str, TensorSpec]) -> None:
        """
        Args:
            specs: by name. They lie in the file in the order of their types, then of their names.
        """
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        self._places: dict[str, int] = {}
        self._specs = dict(specs)
        place = 0
        for name in sorted(specs, key=lambda one: (_RANKS[specs[one].dtype], one)):
            spec = specs[name]
            end = place + spec.nbytes
            header[name] = {
                "dtype": _DTYPES[spec.dtype],
                "shape": list(spec.shape),
                "data_offsets": [place, end],
            }
            self._places[name] = place
            place = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._header = len(text).to_bytes(8, "little") + text
        self.size = len(self._header) + place

    def create(self, path: Path) -> None:
        """Write the header and have the disk set aside room for the rest.

        Raises:
            OSError: there is no room, or no permission.
        """
        with path.open("wb") as file:
            file.write(self._header)
            file.flush()
            os.posix_fallocate(file.fileno(), 0, self.size)

    def write(self, descriptor: int, name: str, offset: int, values: Tensor) -> None:
        """Write a run of elements of one tensor, from `offset` of its flattened form on.

        Args:
            values: 1-d, contiguous, on the CPU, of the tensor's dtype.
        """
        place = len(self._header) + self._places[name] + offset * values.element_size()
        data = memoryview(values.view(torch.uint8).numpy().data)
        while data:
            written = os.pwrite(descriptor, data, place)
            data, place = data[written:], place + written
