"""Which workers are alive, what they do, and how long the queue is."""

from __future__ import annotations

from typing import Any

import redis
from sqlalchemy.orm import Session

from app.database import job_queries
from app.database.tables import Job
from app.fine_tuning.schemas import QueueAnswer, RunningJob, WorkerAnswer, WorkersAnswer
from app.queue import live_workers
from app.settings import get_settings


def workers_answer(session: Session, project_id: str) -> WorkersAnswer:
    """As a project may see it: that workers are busy with jobs of others, but not with which."""
    running = [
        (job.worker_id or "", _running_job(job, left, age, project_id))
        for job, left, age in job_queries.running_jobs(session)
    ]
    facts = job_queries.queue_facts(session)
    try:
        alive = live_workers()
    except redis.RedisError:
        alive = None
    workers = [_worker(id_, told, running) for id_, told in sorted((alive or {}).items())]
    return WorkersAnswer(
        broker="ok" if alive is not None else "out of reach",
        workers=workers,
        running_elsewhere=[job for worker, job in running if _main_process(worker) not in (alive or {})],
        queue=QueueAnswer(length=facts.counts["queued"], oldest_seconds=round(facts.oldest_queued_seconds, 1)),
    )


def _running_job(job: Job, left: float, age: float, project_id: str) -> RunningJob:
    return RunningJob(
        job=job.id if job.project_id == project_id else None,
        attempt=job.attempt,
        heartbeat_seconds=round(max(0.0, get_settings().lease_seconds - left), 1),
        lease_seconds=round(left, 1),
        running_seconds=round(age, 1),
    )


def _worker(id_: str, told: dict[str, Any], running: list[tuple[str, RunningJob]]) -> WorkerAnswer:
    return WorkerAnswer(
        id=id_,
        slots=told.get("slots", 0),
        gpus=len(told.get("gpus", ())),
        draining=told.get("draining", False),
        heartbeat_seconds=told["silent_seconds"],
        running=[job for worker, job in running if _main_process(worker) == id_],
    )


def _main_process(worker_id: str) -> str:
    """Jobs name the slot too: host-pid/slot."""
    return worker_id.partition("/")[0]
