"""Jobs that a lost worker or a flushed Redis left behind come back."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from app.artifacts import get_artifacts
from app.database import attempt_queries
from app.database.attempt_queries import Claim, NewCheckpoint, News
from app.database.session import transaction
from app.database.tables import Job
from app.queue import QUEUE, get_celery, get_redis
from app.settings import get_settings
from tests.conftest import ProjectKeys
from tests.jobs import cancel, events_of, expire_lease, finish_all_jobs, messages_of, queue_job, reload
from worker.job_artifacts import checkpoint_prefix, model_prefix
from worker.reconcile import reconcile


@pytest.fixture(autouse=True)
def _empty_queue(services: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REALM_LEASE_SECONDS", "0.2")  # the database has been up for longer, so leases count
    monkeypatch.setenv("REALM_MAX_ATTEMPTS", "2")
    get_settings.cache_clear()
    finish_all_jobs()
    get_redis().delete(QUEUE)
    yield
    get_settings.cache_clear()


def lost_job(project: ProjectKeys) -> Job:
    """A running job whose worker has gone silent."""
    job = queue_job(project.id)
    with transaction() as session:
        assert attempt_queries.claim_job(session, job.id, "worker-1", 60)
    expire_lease(job)
    return job


def store(prefix: str, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"weights")
    get_artifacts().put_folder(prefix, folder)


def test_a_lost_job_is_queued_again_and_rung_for(project: ProjectKeys, tmp_path: Path) -> None:
    job = lost_job(project)
    recorded, unrecorded = (checkpoint_prefix(job.id, 1, step) for step in (10, 20))
    with transaction() as session:
        checkpoint = NewCheckpoint(f"{job.id}-10", 10, {}, recorded)
        attempt_queries.record(session, Claim(job.key, 1), News(checkpoints=(checkpoint,)))
    for prefix in (model_prefix(job.id, 1), recorded, unrecorded):
        store(prefix, tmp_path)
    reconcile(get_settings())
    row = reload(job)
    assert (row.status, row.attempt, row.lost_attempts) == ("queued", 1, 1)
    assert messages_of(job)[-1] == "The worker that ran the job stopped answering. The job is queued again."
    assert job.id in get_redis().lindex(QUEUE, 0)
    assert get_artifacts().manifest(model_prefix(job.id, 1)) is None
    assert get_artifacts().manifest(recorded) is not None
    assert get_artifacts().manifest(unrecorded) is None


def test_a_job_that_keeps_losing_its_worker_fails(project: ProjectKeys) -> None:
    job = lost_job(project)
    reconcile(get_settings())
    with transaction() as session:
        attempt_queries.claim_job(session, job.id, "worker-2", 60)
    expire_lease(job)
    reconcile(get_settings())
    row = reload(job)
    assert (row.status, row.error_code) == ("failed", "worker_lost")


def test_a_lost_job_that_its_user_cancelled_is_not_tried_again(project: ProjectKeys) -> None:
    job = lost_job(project)
    cancel(job)
    reconcile(get_settings())
    assert reload(job).status == "cancelled"


def test_many_reconcilers_at_once_do_each_thing_once(project: ProjectKeys) -> None:
    lost = [lost_job(project) for _ in range(10)]
    waiting = [queue_job(project.id) for _ in range(5)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(reconcile, [get_settings()] * 6))
    assert [(reload(job).status, reload(job).lost_attempts) for job in lost] == [("queued", 1)] * 10
    for job in lost:
        assert [event.number for event in events_of(job)] == [1, 2, 3]
    messages = get_redis().lrange(QUEUE, 0, -1)
    assert len(messages) == 15
    assert all(any(job.id in message for message in messages) for job in [*lost, *waiting])


def test_a_flushed_redis_is_told_again(project: ProjectKeys) -> None:
    job = queue_job(project.id)
    get_redis().flushall()
    reconcile(get_settings())
    assert get_redis().llen(QUEUE) == 1
    reconcile(get_settings())
    assert get_redis().llen(QUEUE) == 1, "it has just been told"
    with transaction() as session:
        long_ago = "UPDATE jobs SET notified_at = now() - interval '1 h' WHERE key = :key"
        session.execute(text(long_ago), {"key": job.key})
    reconcile(get_settings())
    assert get_redis().llen(QUEUE) == 1, "its message still waits for a worker"
    get_redis().flushall()
    reconcile(get_settings())
    assert get_redis().llen(QUEUE) == 1


def test_a_broker_that_is_away_is_tried_again_at_the_next_pass(
    project: ProjectKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queue_job(project.id)
    with monkeypatch.context() as away:
        away.setenv("REALM_REDIS_URL", "redis://127.0.0.1:1/0")
        away.setenv("REALM_LEASE_SECONDS", "0.2")
        get_settings.cache_clear()
        get_celery.cache_clear()
        reconcile(get_settings())
        assert reload(job).notified_at is None
    get_settings.cache_clear()
    get_celery.cache_clear()
    reconcile(get_settings())
    assert get_redis().llen(QUEUE) == 1


def test_checkpoints_are_kept_until_the_job_has_finished(project: ProjectKeys, tmp_path: Path) -> None:
    job = queue_job(project.id)
    prefix = checkpoint_prefix(job.id, 1, 10)
    store(prefix, tmp_path)
    with transaction() as session:
        claim = attempt_queries.claim_job(session, job.id, "worker-1", 60)
        assert claim == Claim(job.key, 1)
        attempt_queries.record(session, claim, News(checkpoints=(NewCheckpoint(f"{job.id}-10", 10, {}, prefix),)))
    reconcile(get_settings())
    assert get_artifacts().manifest(prefix) is not None
    with transaction() as session:
        attempt_queries.succeed(session, claim, None)
    reconcile(get_settings())
    assert get_artifacts().manifest(prefix) is None
    with transaction() as session:
        assert attempt_queries.stored_checkpoints(session, job.key) == []


def test_the_process_does_it_until_it_is_told_to_stop(project: ProjectKeys) -> None:
    job = lost_job(project)
    process = subprocess.Popen([sys.executable, "-m", "worker.reconcile"], stderr=subprocess.PIPE)
    try:
        while reload(job).status != "queued":
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, output = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 0
    assert f'"job": "{job.id}"' in output.decode()
