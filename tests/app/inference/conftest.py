"""Models that a project owns, answered by a stand-in in place of a loaded model."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import insert

from app.artifacts import get_artifacts
from app.database import model_queries
from app.database.session import transaction
from app.database.tables import Job
from app.inference.engine import Inference, current_inference
from app.inference.model_server import ModelServer
from app.inference.supervision import SupervisedModels
from app.settings import Settings
from realm_core.predictor import Predictor
from tests.app.inference.stand_in import ANSWERS, StandIn, as_predictor
from tests.conftest import ProjectKeys


@dataclass(frozen=True)
class MadeModel:
    id: str
    artifact: str
    job_id: str


def add_job(project_id: str, **values: Any) -> tuple[int, str]:
    """The row of a job that succeeded: its key and its id."""
    id_ = f"ftjob-{secrets.token_hex(4)}"
    row = {
        "id": id_,
        "project_id": project_id,
        "dataset_version": 1,
        "model": "minilm",
        "method": {"type": "realm"},
        "seed": 0,
        "status": "queued",
        **values,
    }
    with transaction() as session:
        return session.execute(insert(Job).values(**row).returning(Job.key)).scalar_one(), id_


@pytest.fixture(scope="session", autouse=True)
def _plain_logs() -> None:
    """Unconfigured, structlog takes seconds to draw a traceback with all its variables."""
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., MadeModel]:
    """Adds a model as a worker does: files first, then the row."""

    def make(project: ProjectKeys, folder: Path | None = None, suffix: str | None = None) -> MadeModel:
        if folder is None:
            folder = tmp_path / secrets.token_hex(4)
            folder.mkdir()
            (folder / "config.json").write_text("{}")
            (folder / "model.safetensors").write_bytes(bytes(range(256)) * 5000)
        artifact = f"models/{secrets.token_hex(8)}"
        manifest = get_artifacts().put_folder(artifact, folder)
        job_key, job_id = add_job(project.id, suffix=suffix)
        with transaction() as session:
            tasks = [{"name": "mood", "answers": list(ANSWERS)}]
            id_ = model_queries.add_model(
                session, job_key=job_key, base="minilm", artifact=artifact, manifest=manifest, tasks=tasks
            )
        return MadeModel(id_, artifact, job_id)

    return make


@pytest.fixture
def model(project: ProjectKeys, make_model: Callable[[ProjectKeys], MadeModel]) -> MadeModel:
    return make_model(project)


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    one = StandIn()
    yield one
    one.open.set()


class ThreadOfThisProcess:
    """What answers in production is a process; here it is a thread, which can be held up and looked into."""

    def __init__(self, load: Callable[[str], Predictor], settings: Settings) -> None:
        self.connection, theirs = socket.socketpair()
        self._thread = threading.Thread(target=ModelServer(theirs, load, settings).serve)
        self._thread.start()

    def end(self) -> str:
        self._thread.join(10)
        assert not self._thread.is_alive()
        return "its thread has ended"


@contextmanager
def inference_in_thread(client: TestClient, load: Callable[[str], Predictor], settings: Settings) -> Iterator[None]:
    """Lets `load` make the models that the application answers with, in a thread of this process."""
    inference = Inference(SupervisedModels(lambda: ThreadOfThisProcess(load, settings)), settings)
    application_of(client).dependency_overrides[current_inference] = lambda: inference
    yield
    assert client.portal is not None
    client.portal.call(inference.close)


@pytest.fixture
def use_inference(client: TestClient, stand_in: StandIn) -> Iterator[Callable[..., None]]:
    """Lets the stand-in answer for every model, with other settings where a test names some."""
    with ExitStack() as made:

        def use(**settings: Any) -> None:
            made.enter_context(inference_in_thread(client, lambda _: as_predictor(stand_in), Settings(**settings)))

        use()
        yield use
        stand_in.open.set()


def application_of(client: TestClient) -> FastAPI:
    assert isinstance(client.app, FastAPI)
    return client.app
