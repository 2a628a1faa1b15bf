"""A classifier as an ONNX graph, for servers that are not ours, held to the model that it is of.

Other libraries compute it, so its answers are near the verified ones and not the same bits.
"""

import warnings
from pathlib import Path

import onnxruntime  # type: ignore[import-untyped]
import torch
from torch import Tensor, nn

from retort.models.backbones import encoder_of
from retort.models.checkpoint import Checkpoint, stored_weights
from retort.models.classifier import TextClassifier
from retort.models.packed.architecture import in_transformers

GRAPH = "model.onnx"
_OPSET = 18
_INPUTS = ("input_ids", "attention_mask")
_OUTPUT = "logits"


class _Logits(nn.Module):
    """A model whose inputs have the names that an export gives them."""

    def __init__(self, model: TextClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids, attention_mask)
        return logits


class OnnxModel(nn.Module):
    """A graph as ONNX Runtime computes it, by one thread: class scores, float32 [texts, labels]."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """As `retort.models.classifier.TextClassifier.forward`."""
        given = dict(zip(_INPUTS, (ids.numpy(), mask.numpy()), strict=True))
        return torch.from_numpy(self._session.run([_OUTPUT], given)[0])


def native_twin(checkpoint: Checkpoint) -> TextClassifier:
    """The same weights in transformers' modules, which PyTorch can trace."""
    head = checkpoint.model.head
    encoder = encoder_of(in_transformers(checkpoint.model.backbone.config), "native")
    twin = TextClassifier(encoder, head.config, len(checkpoint.labels))
    twin.load_state_dict(stored_weights(checkpoint.model), strict=False)
    return twin.eval()


def write_graph(checkpoint: Checkpoint, file: Path) -> None:
    """Write the graph of a checkpoint in float32: int64 [texts, tokens] twice, ids and mask, to logits.

    By tracing: the exporter of PyTorch that is not deprecated loses the mask of attention (2.13), and with it the
    answers to texts of unequal length.
    """
    ones = torch.ones(2, 8, dtype=torch.int64)
    sizes = {0: "texts", 1: "tokens"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing, which the comparison answers
        torch.onnx.export(
            _Logits(native_twin(checkpoint)),
            (ones, ones),
            str(file),
            input_names=list(_INPUTS),
            output_names=[_OUTPUT],
            dynamic_axes={**dict.fromkeys(_INPUTS, sizes), _OUTPUT: {0: "texts"}},
            opset_version=_OPSET,
            dynamo=False,
        )
