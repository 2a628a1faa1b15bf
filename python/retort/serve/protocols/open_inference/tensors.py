"""Tensors of the Open Inference Protocol: in JSON, or behind it as bytes.

https://github.com/kserve/open-inference-protocol and its "binary tensor data extension", which Triton's clients use
unless they are told otherwise.
"""

import math
import struct
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from retort.serve.protocols.body import unprocessable
from retort.serve.protocols.problem import Fault, Problem

DataType = Literal["BYTES", "FP32", "BOOL"]
_LENGTH = struct.Struct("<I")
Json = list["Json"] | str | float | int | bool | None


class InputTensor(BaseModel):
    """A tensor of a request."""

    model_config = ConfigDict(strict=True, frozen=True)
    name: str
    shape: list[int] = Field(min_length=1, max_length=8)
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = Field(
        None, description="Left out where the tensor is bytes behind the JSON."
    )


class OutputTensor(BaseModel):
    """A tensor of an answer."""

    name: str
    shape: list[int]
    datatype: DataType
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


def texts_of(tensor: InputTensor, pointer: str, behind: bytes) -> list[str]:
    """The strings of a tensor of BYTES, in the order of its elements.

    Args:
        pointer: to the tensor, in the body.
        behind: the bytes behind the JSON.
    Raises:
        Problem: it is none, or has other elements than its shape says.
    """
    if tensor.datatype != "BYTES":
        raise _wrong(f"{pointer}/datatype", "is not BYTES")
    if min(tensor.shape) < 0:
        raise _wrong(f"{pointer}/shape", "has a size below 0")
    if tensor.data is not None:
        found = [_text(one, f"{pointer}/data") for one in _flat(tensor.data)]
    else:
        size = tensor.parameters.get("binary_data_size")
        if size != len(behind):
            detail = f"has binary_data_size {size}, and {len(behind)} bytes are behind the JSON"
            raise _wrong(f"{pointer}/parameters", detail)
        found = [_decoded(one, pointer) for one in _elements(behind, pointer)]
    if len(found) != math.prod(tensor.shape):
        raise _wrong(f"{pointer}/shape", f"is not that of {len(found)} elements")
    return found


def tensor_of(
    name: str, datatype: DataType, values: Sequence[Any], shape: list[int], binary: bool
) -> tuple[OutputTensor, bytes]:
    """A tensor of an answer, and the bytes that are to be behind the JSON.

    Args:
        values: strings, float32 or truth values, in the order of the elements.
    """
    if not binary:
        return OutputTensor(name=name, shape=shape, datatype=datatype, data=list(values)), b""
    behind = _bytes_of(datatype, values)
    size = {"binary_data_size": len(behind)}
    return OutputTensor(name=name, shape=shape, datatype=datatype, parameters=size), behind


def _bytes_of(datatype: DataType, values: Sequence[Any]) -> bytes:
    if datatype == "BYTES":
        encoded = [str(value).encode() for value in values]
        return b"".join(_LENGTH.pack(len(one)) + one for one in encoded)
    array: NDArray[Any] = np.array(values, "<f4" if datatype == "FP32" else np.bool_)
    return array.tobytes()


def _flat(data: Sequence[Any]) -> list[Any]:
    """The elements of nested lists, which may be nested as the shape says, or not."""
    found, left = [], [iter(data)]
    while left:
        for one in left[-1]:
            if isinstance(one, list):
                left.append(iter(one))
                break
            found.append(one)
        else:
            left.pop()
    return found


def _text(value: object, pointer: str) -> str:
    if not isinstance(value, str):
        raise _wrong(pointer, "has an element that is no string")
    return value


def _elements(behind: bytes, pointer: str) -> list[bytes]:
    found, at = [], 0
    while at < len(behind):
        if at + _LENGTH.size > len(behind):
            raise _wrong(pointer, "ends in the middle of a length")
        (length,) = _LENGTH.unpack_from(behind, at)
        at += _LENGTH.size
        if at + length > len(behind):
            raise _wrong(pointer, f"ends in the middle of an element of {length} bytes")
        found.append(behind[at : at + length])
        at += length
    return found


def _decoded(value: bytes, pointer: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise _wrong(pointer, "has an element that is not UTF-8") from error


def _wrong(pointer: str, detail: str) -> Problem:
    return unprocessable([Fault(pointer=pointer, detail=detail)])
