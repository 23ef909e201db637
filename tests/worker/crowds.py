"""A small simulated crowd, uploaded as users do it."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi.testclient import TestClient

from realm_core.simulation import simulate

ACCURACY = {"ada": 0.95, "bob": 0.8, "eve": 0.5}
ANSWERS = ("no", "yes")
WORDS = (("refused", "broken", "late"), ("great", "thanks", "perfect"))


def crowd_rows(n_items: int, seed: int = 0) -> list[dict[str, Any]]:
    """Short prompts of two classes, each labelled by everybody."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n_items, dtype=np.int32)
    prompts = [f"It was {rng.choice(WORDS[right])}, number {item}." for item, right in enumerate(truth)]
    labels = simulate(truth, np.full(n_items, 2, np.int32), accuracy=np.array(list(ACCURACY.values())), seed=seed)
    return [
        {"prompt": prompts[item], "annotator": list(ACCURACY)[annotator], "label": ANSWERS[label]}
        for item, annotator, label in zip(labels.item, labels.annotator, labels.label, strict=True)
    ]


def upload_crowd(client: TestClient, n_items: int = 60) -> str:
    """The id of a new dataset."""
    response = client.post("/v1/datasets", json={"name": "crowd", "annotations": crowd_rows(n_items)})
    assert response.status_code == 201, response.text
    return str(response.json()["id"])
