"""Servers of the same weights as one would write them otherwise: FastAPI, and one text after another on each thread.

python -m benchmarks.serve.peer KIND CHECKPOINT PORT [PACKAGES]

KIND is `torch`, `onnx` or `onnx-int8`; the latter two need PACKAGES, a directory with onnxruntime, onnx and onnxscript.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import uvicorn
from fastapi import FastAPI
from numpy.typing import NDArray
from pydantic import BaseModel
from torch import Tensor, nn

from retort.models.backbones import encoder_of
from retort.models.checkpoint import Checkpoint, load_checkpoint
from retort.models.classifier import TextClassifier
from retort.models.packed.architecture import in_transformers

Compute = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
_OPSET = 18


class Text(BaseModel):
    """A request."""

    text: str


class _Logits(nn.Module):
    """A model whose inputs have the names that an export gives them."""

    def __init__(self, model: TextClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids, attention_mask)
        return logits


def native(checkpoint: Checkpoint) -> TextClassifier:
    """The same weights in transformers' modules."""
    assert checkpoint.model.portable is not None
    encoder = encoder_of(in_transformers(checkpoint.model.backbone.config), "native")
    head = checkpoint.model.head
    model = TextClassifier(encoder, head.config, len(checkpoint.labels))
    state = safetensors.torch.load(checkpoint.sealed.read("model.safetensors"))
    model.load_state_dict(state, strict=False)
    return model.eval()


def torch_computation(model: TextClassifier) -> Compute:
    """By PyTorch, one thread for each text."""
    torch.set_num_threads(1)

    @torch.inference_mode()
    def compute(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = model(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        return found

    return compute


def onnx_computation(model: TextClassifier, folder: Path, *, int8: bool) -> Compute:
    """By ONNX Runtime, one thread for each text; int8 is its dynamic quantisation."""
    onnxruntime: Any = import_module("onnxruntime")
    file = folder / "model.onnx"
    ones = torch.ones(1, 8, dtype=torch.int64)
    torch.onnx.export(
        _Logits(model),
        (ones, ones),
        str(file),
        input_names=["input_ids", "attention_mask"],
        output_names=["logits"],
        dynamic_axes={
            "input_ids": {0: "texts", 1: "tokens"},
            "attention_mask": {0: "texts", 1: "tokens"},
        },
        opset_version=_OPSET,
        dynamo=False,
    )
    if int8:
        quantization: Any = import_module("onnxruntime.quantization")
        quantized = folder / "int8.onnx"
        kind = quantization.QuantType.QInt8
        quantization.quantize_dynamic(file, quantized, weight_type=kind, per_channel=True)
        file = quantized
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, ["CPUExecutionProvider"])

    def compute(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = session.run(None, {"input_ids": ids, "attention_mask": mask})[
            0
        ]
        return found

    return compute


def application(checkpoint: Checkpoint, compute: Compute) -> FastAPI:
    """As many threads as processors, each at one text."""
    app = FastAPI()
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))

    def answer(text: str) -> dict[str, Any]:
        scores = compute(*checkpoint.tokenise.encode([text]))[0]
        shares = np.exp(scores - scores.max())
        best = int(shares.argmax())
        return {"label": checkpoint.labels[best], "confidence": float(shares[best] / shares.sum())}

    @app.post("/predict")
    async def predict(asked: Text) -> dict[str, Any]:
        return await asyncio.get_running_loop().run_in_executor(pool, answer, asked.text)

    @app.get("/ready")
    async def ready() -> str:
        return "ok"

    return app


def main() -> None:
    """Serve until killed."""
    kind, path, port, *packages = sys.argv[1:]
    sys.path += packages
    checkpoint = load_checkpoint(Path(path))
    model = native(checkpoint)
    with tempfile.TemporaryDirectory(prefix="retort-benchmark-") as folder:
        compute = (
            torch_computation(model)
            if kind == "torch"
            else onnx_computation(model, Path(folder), int8=kind == "onnx-int8")
        )
        app = application(checkpoint, compute)
        uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error", access_log=False)


if __name__ == "__main__":
    main()
