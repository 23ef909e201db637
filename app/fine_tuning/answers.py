"""Rows of the database as the API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import redis
from sqlalchemy.orm import Session

from app.database import job_queries
from app.database.attempt_queries import NO_FILES
from app.database.tables import Job, JobCheckpoint, JobEvent
from app.fine_tuning.schemas import (
    CheckpointAnswer,
    DatasetReference,
    EventAnswer,
    JobAnswer,
    JobError,
    JobProgress,
    MetricsAnswer,
    Series,
)
from app.queue import live_workers

NO_WORKER = "no worker is alive"
NO_BROKER = "the message broker is out of reach"


def job_answer(session: Session, job: Job) -> JobAnswer:
    return job_answers(session, [job])[0]


def job_answers(session: Session, jobs: Sequence[Job]) -> list[JobAnswer]:
    """The jobs as the API shows them."""
    positions = job_queries.queue_positions(session, jobs)
    files = job_queries.file_ids(session, jobs)
    obstacle = _obstacle() if positions else None
    return [
        _job_answer(
            job,
            training_file=files.get((job.dataset_id or "", job.dataset_version)),
            queue_position=positions.get(job.key),
            waiting_for=obstacle if job.status == "queued" else None,
        )
        for job in jobs
    ]


def _obstacle() -> str | None:
    """What keeps queued jobs from being started, other than jobs before them."""
    try:
        return None if live_workers() else NO_WORKER
    except redis.RedisError:
        return NO_BROKER


def _job_answer(job: Job, **values: Any) -> JobAnswer:
    type_, hyperparameters = job.method["type"], job.method["hyperparameters"]
    progress = JobProgress(**job.progress) if "step" in job.progress else None
    error = job.error_code and JobError(code=job.error_code, message=job.error_message or "", param=None)
    return JobAnswer.model_validate(
        {
            "id": job.id,
            "created_at": _unix(job.created_at),
            "started_at": _unix(job.started_at),
            "finished_at": _unix(job.finished_at),
            "estimated_finish": progress.eta_at if progress else None,
            "model": job.model or None,
            "fine_tuned_model": job.fine_tuned_model,
            "organization_id": job.project_id,
            "dataset": DatasetReference(id=job.dataset_id, version=job.dataset_version),
            "status": job.status,
            "method": {"type": type_, type_: {"hyperparameters": hyperparameters, "resolved": job.resolved}},
            "hyperparameters": hyperparameters,
            "seed": job.seed,
            "suffix": job.suffix,
            "metadata": job.job_metadata,
            "progress": progress,
            "attempt": job.attempt,
            "cancel_requested_at": _unix(job.cancel_requested_at),
            "error": error or None,
            "summary": job.summary,
            **values,
        }
    )


def event_answer(job_id: str, event: JobEvent) -> EventAnswer:
    return EventAnswer.model_validate(
        {
            "id": f"ftevent-{job_id.removeprefix('ftjob-')}-{event.number}",
            "number": event.number,
            "created_at": _unix(event.created_at),
            "level": event.level,
            "type": event.type,
            "message": event.message,
            "data": event.data,
        }
    )


def checkpoint_answer(job_id: str, checkpoint: JobCheckpoint) -> CheckpointAnswer:
    return CheckpointAnswer.model_validate(
        {
            "id": checkpoint.id,
            "created_at": _unix(checkpoint.created_at),
            "fine_tuning_job_id": job_id,
            "step_number": checkpoint.step,
            "metrics": checkpoint.metrics,
            "stored": checkpoint.artifact != NO_FILES,
        }
    )


def metrics_answer(events: Sequence[JobEvent]) -> MetricsAnswer:
    """Arrays over steps; a step that a later attempt repeated counts once, with its later value."""
    by_name: dict[str, dict[int, Any]] = {}
    for event in events:
        data = dict(event.data or {})
        step = data.pop("step")
        for name, value in data.items():
            by_name.setdefault(name, {})[step] = value
    series = {name: dict(sorted(values.items())) for name, values in by_name.items()}
    return MetricsAnswer(
        metrics={name: Series(step=list(values), value=list(values.values())) for name, values in series.items()}
    )


def _unix(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp())
