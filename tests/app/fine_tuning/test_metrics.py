"""What Prometheus sees of the jobs."""

from __future__ import annotations

from fastapi.testclient import TestClient
from sqlalchemy import text

from app.database import attempt_queries
from app.database.attempt_queries import News, Progress
from app.database.session import transaction
from app.settings import get_settings
from tests.conftest import ProjectKeys
from tests.jobs import finish_all_jobs, queue_job


def metrics(client: TestClient) -> dict[str, float]:
    lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith("realm_")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_the_queue_and_the_leases(client: TestClient, project: ProjectKeys) -> None:
    finish_all_jobs()
    quiet = metrics(client)
    assert quiet['realm_jobs{status="queued"}'] == quiet['realm_jobs{status="running"}'] == 0
    assert quiet["realm_oldest_queued_job_seconds"] == quiet["realm_oldest_heartbeat_seconds"] == 0
    waiting, running = queue_job(project.id), queue_job(project.id)
    with transaction() as session:
        attempt_queries.claim_job(session, running.id, "worker-1", get_settings().lease_seconds)
        changes = {
            waiting.key: "queued_at = now() - interval '90 s'",
            running.key: "lease_until = now() + interval '10 s'",
        }
        for key, change in changes.items():
            session.execute(text(f"UPDATE jobs SET {change} WHERE key = :key"), {"key": key})
    busy = metrics(client)
    assert busy['realm_jobs{status="queued"}'] == busy['realm_jobs{status="running"}'] == 1
    assert 90 <= busy["realm_oldest_queued_job_seconds"] < 95
    silent = get_settings().lease_seconds - 10
    assert silent <= busy["realm_oldest_heartbeat_seconds"] < silent + 5


def test_how_fast_jobs_train(client: TestClient, project: ProjectKeys) -> None:
    finish_all_jobs()
    assert metrics(client)["realm_training_step_seconds"] == metrics(client)["realm_training_rows_per_second"] == 0
    for seconds, hyperparameters in ((10.0, {"batch_size": 8, "accumulation_steps": 2}), (40.0, {})):
        job = queue_job(project.id, method={"type": "realm", "hyperparameters": hyperparameters})
        pace = {"reading": {"seconds": 7.0, "steps": 0}, "training": {"seconds": seconds, "steps": 20}}
        with transaction() as session:
            claim = attempt_queries.claim_job(session, job.id, "worker-1", 60)
            assert claim is not None
            progress = Progress("training", 20, 100, 20.0, None, pace)
            resolved = {"batch_size": {"value": 32, "why": "fits"}}
            attempt_queries.record(session, claim, News(progress=progress, resolved=resolved))
    found = metrics(client)
    assert found["realm_training_step_seconds"] == 2.0
    assert found["realm_training_rows_per_second"] == 16 / 0.5 + 32 / 2.0
    finish_all_jobs()
