"""The same weights behind LitServe, as its documentation has batches: in PyTorch, padded, of what comes in 10 ms."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import litserve  # type: ignore[import-not-found]
import torch

from retort.export.onnx_graph import native_twin
from retort.models.checkpoint import load_checkpoint

_BATCH, _SECONDS = 16, 0.01


class Batched(litserve.LitAPI):  # type: ignore[misc]
    """Made here, and used in processes of LitServe's, each with one thread."""

    def __init__(self, checkpoint: Path) -> None:
        super().__init__(max_batch_size=_BATCH, batch_timeout=_SECONDS)
        self.path = checkpoint

    def setup(self, device: object) -> None:
        """LitServe's, as those below."""
        torch.set_num_threads(1)
        self.checkpoint = load_checkpoint(self.path)
        self.model = native_twin(self.checkpoint)

    def decode_request(self, request: dict[str, str]) -> str:
        """The text."""
        return request["text"]

    @torch.inference_mode()
    def predict(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Of a batch."""
        ids, mask = map(torch.from_numpy, self.checkpoint.tokenise.encode(list(texts)))
        sure, best = self.model(ids, mask).softmax(dim=1).max(dim=1)
        labels = [self.checkpoint.labels[number] for number in best.tolist()]
        return list(zip(labels, sure.tolist(), strict=True))

    def encode_response(self, output: tuple[str, float]) -> dict[str, Any]:
        """Of one text."""
        return {"label": output[0], "confidence": output[1]}


def serve(checkpoint: Path, port: int) -> None:
    """Serve until killed."""
    server = litserve.LitServer(
        Batched(checkpoint),
        accelerator="cpu",
        workers_per_device=len(os.sched_getaffinity(0)),
        healthcheck_path="/ready",
    )
    server.run(port=port, host="127.0.0.1", log_level="error", generate_client_file=False)
