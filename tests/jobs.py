"""Jobs for tests, put into the queue without a dataset."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import select, text

from app.database import job_queries
from app.database.base import new_id
from app.database.job_queries import NewEvent
from app.database.session import transaction
from app.database.tables import Job, JobEvent
from app.fine_tuning.service import cancel_job


def queue_job(project_id: str, **values: Any) -> Job:
    """A queued job that aggregates, unless `values` say something else."""
    defaults = {
        "dataset_version": 1,
        "model": "",
        "method": {"type": "aggregation", "hyperparameters": {}},
        "seed": 1,
    }
    with transaction() as session:
        job = job_queries.add_job(session, id=new_id("ftjob-"), project_id=project_id, **(defaults | values))
        job_queries.add_events(session, job.key, [NewEvent("The job is queued")])
        return job


def reload(job: Job) -> Job:
    with transaction() as session:
        return session.execute(select(Job).where(Job.key == job.key)).scalar_one()


def events_of(job: Job) -> list[JobEvent]:
    with transaction() as session:
        return job_queries.list_events(session, job.key, after=None, limit=10_000)


def messages_of(job: Job) -> list[str]:
    return [event.message for event in events_of(job)]


def expire_lease(job: Job) -> None:
    """As if the worker had been silent for too long."""
    with transaction() as session:
        session.execute(text("UPDATE jobs SET lease_until = now() - interval '1 s' WHERE key = :key"), {"key": job.key})


def finish_all_jobs() -> None:
    """Leave nothing in the queue: workers and the reconciler take jobs of all projects."""
    with transaction() as session:
        ended = "status = 'cancelled', finished_at = now(), lease_until = NULL"
        session.execute(text(f"UPDATE jobs SET {ended} WHERE finished_at IS NULL"))


def cancel(job: Job) -> None:
    """As its user would."""
    with transaction() as session:
        cancel_job(session, job.project_id, job.id)


def wait_for(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """What the condition answers once it is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return found
