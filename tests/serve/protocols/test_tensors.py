"""Tensors are read as they were written, and what is none is refused."""

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retort.serve.protocols.open_inference.tensors import InputTensor, tensor_of, texts_of
from retort.serve.protocols.problem import Problem

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=20)


def given_tensor(**more: Any) -> InputTensor:
    return InputTensor.model_validate({"name": "text", "datatype": "BYTES", "shape": [2], **more})


@given(TEXTS, st.booleans(), st.booleans())
def test_texts_are_read_back(texts: list[str], binary: bool, nested: bool) -> None:
    shape = [len(texts), 1] if nested else [len(texts)]
    made, behind = tensor_of("text", "BYTES", texts, shape, binary)
    said = made.model_dump(exclude_none=True)
    if nested and not binary:
        said["data"] = [[one] for one in texts]
    read = InputTensor.model_validate(said)
    assert texts_of(read, "#", behind) == texts


@given(st.lists(st.floats(width=32), max_size=20))
def test_numbers_are_their_bits(values: list[float]) -> None:
    made, behind = tensor_of("p", "FP32", values, [len(values)], binary=True)
    assert np.frombuffer(behind, "<f4").tobytes() == np.array(values, np.float32).tobytes()
    assert made.parameters == {"binary_data_size": len(behind)}
    made, behind = tensor_of("t", "BOOL", [True, False], [2], binary=True)
    assert behind == b"\x01\x00"


@pytest.mark.parametrize(
    ("more", "behind", "told"),
    [
        ({"datatype": "FP32", "data": [1.0, 2.0]}, b"", "#/datatype: is not BYTES"),
        ({"shape": [-1], "data": []}, b"", "has a size below 0"),
        ({"data": ["a"]}, b"", "#/shape: is not that of 1 elements"),
        ({"shape": [2, 2], "data": ["a", "b"]}, b"", "is not that of 2 elements"),
        ({"data": ["a", 7]}, b"", "has an element that is no string"),
        ({"data": [["a"], {"b": 1}]}, b"", "has an element that is no string"),
        ({}, b"", "has binary_data_size None, and 0 bytes"),
        ({"parameters": {"binary_data_size": 5}}, b"1234", "size 5, and 4 bytes"),
        ({"parameters": {"binary_data_size": 3}}, b"123", "in the middle of a length"),
        ({"parameters": {"binary_data_size": 5}}, struct.pack("<I", 2) + b"a", "of 2 bytes"),
        ({"parameters": {"binary_data_size": 4}}, b"\xff" * 4, "of 4294967295 bytes"),
        ({"parameters": {"binary_data_size": 5}}, struct.pack("<I", 1) + b"\xff", "not UTF-8"),
    ],
)
def test_what_is_no_tensor_of_texts_is_told(more: dict[str, Any], behind: bytes, told: str) -> None:
    with pytest.raises(Problem) as raised:
        texts_of(given_tensor(**more), "#", behind)
    assert told in raised.value.detail


def test_lists_may_be_nested_as_deep_as_they_like() -> None:
    data: list[Any] = ["a"]
    for _ in range(5000):
        data = [data]
    tensor = InputTensor.model_construct(
        name="text", datatype="BYTES", shape=[1], parameters={}, data=data
    )
    assert texts_of(tensor, "#", b"") == ["a"]
