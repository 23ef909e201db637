"""Our own model folder, with its tokenizer and on one torch thread, in LitServe's batches.

Padded, as transformers makes batches and LitServe's users run them, or packed by our own predictor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import litserve
import torch

from realm_core.checkpoint import load_model
from realm_core.predictor import PredictInput, Prediction, Predictor

BATCH = 32
_WINDOW_SECONDS = 0.003


class Model(litserve.LitAPI):  # type: ignore[misc]
    """The names of the methods and of their arguments are LitServe's."""

    def __init__(self, folder: Path, *, packed: bool) -> None:
        super().__init__(max_batch_size=BATCH, batch_timeout=_WINDOW_SECONDS)
        self.folder, self.packed = folder, packed

    def setup(self, device: str) -> None:
        torch.set_num_threads(1)
        self.predictor = Predictor.load(self.folder) if self.packed else Predictor(load_model(self.folder))

    def decode_request(self, request: dict[str, str]) -> PredictInput:
        return PredictInput(request["inputs"])

    def predict(self, x: list[PredictInput]) -> list[Prediction]:
        return self.predictor.predict(x)

    def encode_response(self, output: Prediction) -> list[dict[str, Any]]:
        scores = zip(output.answers, output.probabilities.tolist(), strict=True)
        return [{"label": label, "score": score} for label, score in scores]


def serve(folder: Path, port: int, *, packed: bool) -> None:
    """Until somebody ends it."""
    server = litserve.LitServer(Model(folder, packed=packed), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=port, num_api_servers=1, generate_client_file=False, log_level="warning")
