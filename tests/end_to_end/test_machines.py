"""API and workers on machines of their own: they share Postgres, Redis and an S3 store, and nothing else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from app.artifacts import get_artifacts
from app.client import RealmClient, ServiceUnreachable
from app.database.session import transaction
from app.queue import live_workers
from benchmarks.faults.invariants import violations
from benchmarks.faults.small_model import save_small_model
from benchmarks.faults.stage import TRAINING, crowd
from tests.conftest import ProjectKeys, Services, forget_settings
from tests.jobs import finish_all_jobs, wait_for
from tests.s3 import s3_server

pytestmark = pytest.mark.slow


class Machine:
    """A process of the service with a data folder of its own."""

    def __init__(self, folder: Path, *command: str, **settings: str) -> None:
        self.data_dir = folder
        folder.mkdir()
        environment = {**os.environ, "REALM_DATA_DIR": str(folder), **settings}
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-m", *command], env=environment, stdout=log, stderr=log)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture
def store(services: Services, tmp_path: Path) -> Iterator[str]:
    """An S3 bucket, in the settings of this process and of those that it starts."""
    save_small_model(tmp_path / "models" / "small", {word for row in crowd(200) for word in row["prompt"].split()})
    with s3_server("realm") as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REALM_ARTIFACTS_URL", url)
        patch.setenv("REALM_MODELS_DIR", str(tmp_path / "models"))
        patch.setenv("REALM_CHECKPOINT_SECONDS", "0.3")
        patch.setenv("REALM_LEASE_SECONDS", "3")
        patch.setenv("REALM_TORCH_THREADS", "1")
        forget_settings()
        finish_all_jobs()
        yield url
    forget_settings()


@pytest.fixture
def start(store: str, tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    with ExitStack() as cleanup:

        def start(name: str, *command: str, **settings: str) -> Machine:
            machine = Machine(tmp_path / name, *command, **settings)
            cleanup.callback(machine.stop)
            return machine

        yield start


def test_a_job_goes_on_from_its_checkpoint_on_another_machine(
    start: Callable[..., Machine], project: ProjectKeys
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    api = start("api", "app.cli", "api", REALM_PORT=str(port))
    start("reconcile", "worker.reconcile")
    workers = {worker.process.pid: worker for worker in (start("worker-1", "worker"), start("worker-2", "worker"))}
    with RealmClient(f"http://127.0.0.1:{port}", project.admin_key) as client:
        wait_for(lambda: answers(client), 60)
        wait_for(lambda: {facts["pid"] for facts in live_workers().values()} >= set(workers), 60)
        dataset = client.datasets.create(crowd(200), name="crowd")["id"]
        job = client.fine_tuning.jobs.create(
            dataset=dataset, model="small", hyperparameters=TRAINING | {"n_epochs": 100}, seed=1
        )["id"]
        first = wait_for(lambda: worker_after_a_checkpoint(client, job), 120)
        workers[first].process.kill()
        ended = client.fine_tuning.jobs.wait(job)
        messages = [event["message"] for event in client.fine_tuning.jobs.list_events(job, order="asc")]
        assert (ended["status"], ended["attempt"]) == ("succeeded", 2), messages
        assert any(message.startswith("Going on from the checkpoint at step") for message in messages)
        answer = client.predict(ended["fine_tuned_model"], "it was great , number 3")
        assert {one["label"] for one in answer} == {"no", "yes"}
        assert not list(api.data_dir.glob("artifacts"))
        assert client.request("GET", f"/v1/models/{ended['fine_tuned_model']}/content").content
    with transaction() as session:
        assert [one for one in violations(session, get_artifacts()) if job in one] == []


def answers(client: RealmClient) -> bool:
    try:
        return client.request("GET", "/livez").is_success
    except ServiceUnreachable:
        return False


def worker_after_a_checkpoint(client: RealmClient, job: str) -> Any:
    """The process id of the worker that trains a job, once a checkpoint of it is stored."""
    events = list(client.fine_tuning.jobs.list_events(job, order="asc"))
    if not any(event["message"].startswith("Checkpoint at") for event in events):
        time.sleep(0.1)
        return None
    started = next(event for event in events if event["message"] == "Attempt 1 started")
    return int(started["data"]["worker"].partition("/")[0].rpartition("-")[2])
