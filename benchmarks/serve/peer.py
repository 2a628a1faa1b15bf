"""Servers of the same weights as one would write them otherwise: FastAPI, and one text after another on each thread.

python -m benchmarks.serve.peer KIND CHECKPOINT [PACKAGES] PORT

KIND is `torch`, `onnx`, `onnx-int8` or `litserve`, which computes batches of texts that come within 10 ms in PyTorch,
padded, and is in PACKAGES, a folder that pip has filled.
"""

import asyncio
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI
from onnxruntime import quantization  # type: ignore[import-untyped]
from pydantic import BaseModel
from torch import nn

from retort.export.onnx_graph import GRAPH, OnnxModel, native_twin, write_graph
from retort.models.checkpoint import Checkpoint, load_checkpoint


class Text(BaseModel):
    """A request."""

    text: str


def model_of(kind: str, checkpoint: Checkpoint, folder: Path) -> nn.Module:
    """What computes, by one thread for each text.

    Args:
        folder: for graphs.
    """
    if kind == "torch":
        return native_twin(checkpoint)
    file = folder / GRAPH
    write_graph(checkpoint, file)
    if kind == "onnx":
        return OnnxModel(file)
    quantized, weight = folder / "int8.onnx", quantization.QuantType.QInt8
    quantization.quantize_dynamic(file, quantized, weight_type=weight, per_channel=True)
    return OnnxModel(quantized)


def application(checkpoint: Checkpoint, model: nn.Module) -> FastAPI:
    """As many threads as processors, each at one text."""
    app = FastAPI()
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))

    @torch.inference_mode()
    def answer(text: str) -> dict[str, Any]:
        ids, mask = map(torch.from_numpy, checkpoint.tokenise.encode([text]))
        scores = model(ids, mask)[0].numpy()
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
    kind, path, *packages, port = sys.argv[1:]
    if kind == "litserve":
        sys.path += packages
        # Its processes begin anew, and look for packages where the environment says.
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
        import_module("benchmarks.serve.lit").serve(Path(path), int(port))
        return
    checkpoint = load_checkpoint(Path(path))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="retort-benchmark-") as folder:
        app = application(checkpoint, model_of(kind, checkpoint, Path(folder)))
        uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error", access_log=False)


if __name__ == "__main__":
    main()
