"""The checker after each fault finds what is wrong; a checker that finds nothing proves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from app.artifacts import get_artifacts
from app.database import attempt_queries, model_queries
from app.database.session import transaction
from app.database.tables import Job
from benchmarks.faults.invariants import violations
from tests.conftest import ProjectKeys
from tests.jobs import queue_job
from tests.worker.crowds import upload_crowd


def broken_rules(*names: str) -> set[str]:
    """The rules that something of this test breaks."""
    with transaction() as session:
        found = violations(session, get_artifacts())
    return {one.rpartition(": ")[0] for one in found if any(name in one for name in names)}


def running_job(project: ProjectKeys) -> Job:
    job = queue_job(project.id)
    with transaction() as session:
        attempt_queries.claim_job(session, job.id, "worker-1", 60)
    return job


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("UPDATE jobs SET lease_until = now() - interval '1 s' WHERE key = :key", "a running job has a live lease"),
        (
            "UPDATE jobs SET status = 'failed', finished_at = now(), lease_until = NULL WHERE key = :key",
            "a job that has ended has its time and its reason",
        ),
        ("DELETE FROM job_events WHERE job_key = :key AND number = 1", "a job's events are numbered"),
        (
            "UPDATE job_events SET message = 'Attempt 1 started' WHERE job_key = :key",
            "a job succeeds once, and each of its attempts starts once",
        ),
    ],
)
def test_a_job_that_breaks_a_rule(project: ProjectKeys, change: str, rule: str) -> None:
    job = running_job(project)
    assert broken_rules(job.id) == set()
    with transaction() as session:
        session.execute(text(change), {"key": job.key})
    (broken,) = broken_rules(job.id)
    assert broken.startswith(rule)


def test_a_dataset_that_lost_a_label_and_one_that_left_tables_behind(client: TestClient) -> None:
    dataset = upload_crowd(client)
    assert broken_rules(dataset) == set()
    with transaction() as session:
        key = session.execute(text("SELECT key FROM datasets WHERE id = :id"), {"id": dataset}).scalar_one()
        session.execute(text("DELETE FROM annotations WHERE dataset_key = :key AND item = 3"), {"key": key})
    assert broken_rules(dataset) == {"an upload that was accepted is whole"}
    with transaction() as session:
        session.execute(text("DELETE FROM datasets WHERE id = :id"), {"id": dataset})
    assert broken_rules(f"items_{key}", f"annotations_{key}") == {"an upload that was not accepted is absent"}
    with transaction() as session:
        session.execute(text(f"DROP TABLE items_{key}, annotations_{key}"))


def test_a_model_whose_file_changed(project: ProjectKeys, tmp_path: Path) -> None:
    job = running_job(project)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    prefix = f"models/{job.id}-1"
    manifest = get_artifacts().put_folder(prefix, tmp_path)
    with transaction() as session:
        model = model_queries.add_model(
            session, job_key=job.key, base="small", artifact=prefix, manifest=manifest, tasks=[]
        )
        session.execute(text("UPDATE jobs SET fine_tuned_model = :id WHERE key = :key"), {"id": model, "key": job.key})
    assert broken_rules(job.id, model) == set()
    (tmp_path / "model.safetensors").write_bytes(b"weight")
    get_artifacts().put_folder(prefix, tmp_path)
    assert broken_rules(model) == {
        f"a model's files equal its manifest: {model}, model.safetensors".rpartition(": ")[0]
    }
    with transaction() as session:
        session.execute(text("DELETE FROM models WHERE id = :id"), {"id": model})
