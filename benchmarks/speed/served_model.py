"""A model that the service itself fine-tuned, to be asked over HTTP, and the same files for its peers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sqlalchemy import text

from app.artifacts import get_artifacts
from app.database.session import transaction
from benchmarks.speed.http_load import Load, Seen, measure
from benchmarks.speed.live_service import LiveService
from benchmarks.speed.texts import questions

CLASSES = ("abbreviation", "entity", "description", "human", "location", "number")
_N_PROMPTS = 120
_FEW_STEPS = {"max_steps": 3, "cross_fit_folds": 0, "evaluations": 1}  # what it learned does not change how fast it is


@dataclass(frozen=True)
class ServedModel:
    """A model of the service and a folder with its files."""

    service: LiveService
    id: str
    folder: Path

    def load(self, inputs: Sequence[object], *, clients: int, requests: int) -> Seen:
        """Ask with each of `inputs` in turn."""
        url = f"{self.service.url}/v1/models/{self.id}/predict"
        return measure(Load(url, [{"inputs": one} for one in inputs], clients, requests, self.service.api_key))


@contextmanager
def served_model(service: LiveService) -> Iterator[ServedModel]:
    """Fine-tune MiniLM for a moment by a job of the service."""
    model_id = train_model(service)
    with TemporaryDirectory(prefix="realm-speed-") as folder:
        yield ServedModel(service, model_id, files_of(model_id, Path(folder) / "model"))


def train_model(service: LiveService) -> str:
    """The id of the model that a short job makes."""
    rng = np.random.default_rng(0)
    rows = [
        {"prompt": prompt, "annotator": name, "label": CLASSES[rng.integers(len(CLASSES))]}
        for prompt in questions(_N_PROMPTS, seed=1)
        for name in ("ada", "bob", "eve")
    ]
    dataset = service.client.datasets.create(rows, name="questions")["id"]
    job = service.client.fine_tuning.jobs.create(dataset=dataset, model="minilm", hyperparameters=_FEW_STEPS, seed=1)
    for news in service.client.fine_tuning.jobs.follow(job["id"]):
        job = news.object if news.kind == "job" else job
    if job["status"] != "succeeded":
        raise SystemExit(f"the job {job['status']}: {job['error']}")
    return str(job["fine_tuned_model"])


def files_of(model_id: str, folder: Path) -> Path:
    """A copy of the model's files out of the service's store."""
    with transaction() as session:
        query = text("SELECT artifact FROM models WHERE id = :id")
        artifact = session.execute(query, {"id": model_id}).scalar_one()
    return get_artifacts().fetch_folder(artifact, folder)
