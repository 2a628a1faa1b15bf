"""What a config.json says of a model.

transformers' classes say it too, and take longer to import than PyTorch's first product takes to compute. A process
that computes by the kernels reads the families that have a packed form without them, to the same words; whatever is
out of the ordinary is left to transformers.
"""

import copy
import importlib.metadata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

if TYPE_CHECKING:
    from transformers import PretrainedConfig

Architecture: TypeAlias = "PretrainedConfig | PlainArchitecture"

_PASSED_ON: Mapping[str, tuple[Any, ...]] = {
    "gradient_checkpointing": (False, True),
    "position_embedding_type": ("absolute",),
    "dtype": (None, "float32", "float16", "bfloat16"),
}
"""Values that change nothing here; of what older files say beside what transformers knows, too."""
_COMMON: Mapping[str, Any] = {
    "_name_or_path": "",
    "add_cross_attention": False,
    "architectures": None,
    "bos_token_id": None,
    "chunk_size_feed_forward": 0,
    "dtype": None,
    "eos_token_id": None,
    "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
    "initializer_range": 0.02,
    "is_decoder": False,
    "is_encoder_decoder": False,
    "label2id": {"LABEL_0": 0, "LABEL_1": 1},
    "output_attentions": False,
    "output_hidden_states": False,
    "pad_token_id": None,
    "problem_type": None,
    "return_dict": True,
    "tie_word_embeddings": True,
    "use_cache": True,
}
_BERT: Mapping[str, Any] = {
    "attention_probs_dropout_prob": 0.1,
    "classifier_dropout": None,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "vocab_size": 30522,
}
_SUMMARY: Mapping[str, Any] = {"summary_activation": None, "summary_use_proj": True}
_FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "bert": _BERT,
    "roberta": {
        **_BERT,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
        "vocab_size": 50265,
    },
    "electra": {
        **_BERT,
        **_SUMMARY,
        "embedding_size": 128,
        "hidden_size": 256,
        "intermediate_size": 1024,
        "num_attention_heads": 4,
        "summary_activation": "gelu",
        "summary_last_dropout": 0.1,
        "summary_type": "first",
    },
    "distilbert": {
        "activation": "gelu",
        "attention_dropout": 0.1,
        "dim": 768,
        "dropout": 0.1,
        "hidden_dim": 3072,
        "max_position_embeddings": 512,
        "n_heads": 12,
        "n_layers": 6,
        "pad_token_id": 0,
        "qa_dropout": 0.1,
        "seq_classif_dropout": 0.2,
        "sinusoidal_pos_embds": False,
        "vocab_size": 30522,
    },
    "llama": {
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "head_dim": None,
        "hidden_act": "silu",
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "max_position_embeddings": 2048,
        "mlp_bias": False,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": None,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-06,
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
        "tie_word_embeddings": False,
        "vocab_size": 32000,
    },
    "gpt2": {
        **_SUMMARY,
        "activation_function": "gelu_new",
        "attn_pdrop": 0.1,
        "bos_token_id": 50256,
        "embd_pdrop": 0.1,
        "eos_token_id": 50256,
        "layer_norm_epsilon": 1e-05,
        "n_embd": 768,
        "n_head": 12,
        "n_inner": None,
        "n_layer": 12,
        "n_positions": 1024,
        "reorder_and_upcast_attn": False,
        "resid_pdrop": 0.1,
        "scale_attn_by_inverse_layer_idx": False,
        "scale_attn_weights": True,
        "summary_first_dropout": 0.1,
        "summary_proj_to_labels": True,
        "summary_type": "cls_index",
        "vocab_size": 50257,
    },
}
"""What each says by default."""
_NOT_COMMON: Mapping[str, tuple[str, ...]] = {
    "distilbert": ("add_cross_attention", "is_decoder", "use_cache"),
    "llama": ("add_cross_attention", "is_decoder"),
    "gpt2": ("is_decoder",),
}
_OTHER_NAMES: Mapping[str, Mapping[str, str]] = {
    "distilbert": {
        "hidden_size": "dim",
        "num_attention_heads": "n_heads",
        "num_hidden_layers": "n_layers",
    },
    "gpt2": {
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    },
}
"""By which all families are asked."""
_NUMBERS_OR_NONE = frozenset(
    ["bos_token_id", "eos_token_id", "pad_token_id", "head_dim", "n_inner", "num_key_value_heads"]
)
_NO_DEFAULT = object()


class PlainArchitecture:
    """One of the families above, by the attributes that transformers' class for it has."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        """
        Args:
            values: all that `to_dict` is to give.
        """
        self._values = dict(values)
        self._names = _OTHER_NAMES.get(values["model_type"], {})

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "PlainArchitecture | None":
        """What a config.json says, or None if it is not an ordinary one."""
        family = said.get("model_type")
        if not isinstance(family, str) or family not in _FAMILIES:
            return None
        lacks = _NOT_COMMON.get(family, ())
        defaults = {key: value for key, value in _COMMON.items() if key not in lacks}
        defaults |= _FAMILIES[family]
        said = {key: value for key, value in said.items() if key not in _OF_THE_FILE}
        if not all(_is_ordinary(key, value, defaults) for key, value in said.items()):
            return None
        values = {**defaults, **said, "model_type": family}
        if family == "llama":
            _derive(values)
        values["transformers_version"] = importlib.metadata.version("transformers")
        found = cls(values)
        return found if found.hidden_size % found.num_attention_heads == 0 else None

    def __getattr__(self, name: str) -> Any:
        values = self.__dict__.get("_values", {})  # a copy being made has none yet
        try:
            return values[self.__dict__["_names"].get(name, name)]
        except KeyError:
            raise AttributeError(name) from None

    def to_dict(self) -> dict[str, Any]:
        """What transformers' class says by a method of that name, but for the place that it was read from."""
        return copy.deepcopy(self._values)


_OF_THE_FILE = frozenset(["_name_or_path", "model_type", "transformers_version"])
"""What says nothing of the model, or is known already."""


def architecture_of(said: Mapping[str, Any]) -> Architecture:
    """
    Args:
        said: the content of a config.json.
    Raises:
        Exception: whatever transformers raises of what is no architecture.
    """
    return PlainArchitecture.of(said) or _in_transformers(said)


def in_transformers(architecture: Architecture) -> "PretrainedConfig":
    """The same as transformers' modules want it."""
    if isinstance(architecture, PlainArchitecture):
        return _in_transformers(architecture.to_dict())
    return architecture


def in_float32(architecture: Architecture) -> Architecture:
    """A copy that says float32."""
    if isinstance(architecture, PlainArchitecture):
        return PlainArchitecture({**architecture.to_dict(), "dtype": "float32"})
    found = copy.deepcopy(architecture)
    found.dtype = torch.float32
    return found


def _in_transformers(said: Mapping[str, Any]) -> "PretrainedConfig":
    from transformers import AutoConfig

    return AutoConfig.for_model(**said)


def _is_ordinary(key: str, value: Any, defaults: Mapping[str, Any]) -> bool:
    """Whether it is sure what transformers makes of it: nothing."""
    if key in _PASSED_ON:
        return value in _PASSED_ON[key]
    if key == "architectures":
        return value is None or isinstance(value, list)
    if key in _NUMBERS_OR_NONE and key in defaults:
        least = 0 if key.endswith("_token_id") else 1
        return value is None or (type(value) is int and value >= least)
    default = defaults.get(key, _NO_DEFAULT)
    if type(value) is not type(default):
        return False
    if type(value) is int:
        return value > 0 or value == default
    return value == default or isinstance(value, bool | float | str)


def _derive(values: dict[str, Any]) -> None:
    heads = values["num_attention_heads"]
    if values["num_key_value_heads"] is None:
        values["num_key_value_heads"] = heads
    if values["head_dim"] is None:
        values["head_dim"] = values["hidden_size"] // heads
