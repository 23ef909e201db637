"""Who works and what waits, as a project may see it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from app.database import attempt_queries
from app.database.session import transaction
from app.database.tables import Job
from app.queue import announce_worker, get_redis, live_workers, withdraw_worker
from app.settings import get_settings
from tests.conftest import ProjectKeys
from tests.jobs import expire_lease, finish_all_jobs, queue_job

WORKERS = "/v1/fine_tuning/workers"
FACTS = {"slots": 2, "gpus": ["0", "1"], "draining": False}


@pytest.fixture(autouse=True)
def _one_worker(services: object) -> Iterator[None]:
    finish_all_jobs()
    for worker in live_workers():
        withdraw_worker(worker)
    announce_worker("host-7", FACTS, 60)
    yield
    withdraw_worker("host-7")


def run(job: Job, worker: str) -> None:
    with transaction() as session:
        assert attempt_queries.claim_job(session, job.id, worker, get_settings().lease_seconds)


def test_workers_their_jobs_and_the_queue(client: TestClient, project: ProjectKeys, other_project: ProjectKeys) -> None:
    own, foreign, lost = queue_job(project.id), queue_job(other_project.id), queue_job(project.id)
    run(own, "host-7/0")
    run(foreign, "host-7/1")
    run(lost, "gone-1/0")
    expire_lease(lost)
    queue_job(other_project.id)
    answer = client.get(WORKERS).json()
    (worker,) = answer["workers"]
    assert (worker["id"], worker["slots"], worker["gpus"], worker["draining"]) == ("host-7", 2, 2, False)
    assert worker["heartbeat_seconds"] < 30
    assert [job["job"] for job in worker["running"]] == [own.id, None]
    assert worker["running"][0]["lease_seconds"] > 0
    assert worker["running"][0]["heartbeat_seconds"] < get_settings().lease_seconds
    (elsewhere,) = answer["running_elsewhere"]
    assert elsewhere["job"] == lost.id
    assert elsewhere["lease_seconds"] < 0
    assert answer["queue"]["length"] == 1
    assert foreign.id not in client.get(WORKERS).text
    finish_all_jobs()


def test_how_long_a_worker_has_been_silent() -> None:
    get_redis().pexpire("realm:worker:host-7", 20_000)
    time.sleep(0.01)
    assert 40 <= live_workers()["host-7"]["silent_seconds"] < 45


def test_nobody(client: TestClient) -> None:
    withdraw_worker("host-7")
    answer = client.get(WORKERS).json()
    assert (answer["workers"], answer["queue"]) == ([], {"length": 0, "oldest_seconds": 0.0})
    assert client.get(WORKERS, headers={"Authorization": "Bearer none"}).status_code == 401
