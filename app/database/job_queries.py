"""Jobs as their users see them: making, reading and cancelling. What workers write is in attempt_queries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Float, Row, cast, func, insert, select, update
from sqlalchemy.orm import Session

from app.database.keyset_pages import page_by_date, page_by_key
from app.database.tables import JOB_STATUSES, UNFINISHED, Dataset, File, Job, JobCheckpoint, JobEvent, Project
from app.database.webhook_queries import announce_end

MAX_MESSAGE_LENGTH = 2000


@dataclass(frozen=True)
class NewEvent:
    """An event to be; `type` is message or metrics, `level` info, warn or error."""

    message: str
    level: str = "info"
    type: str = "message"
    data: dict[str, Any] | None = None


def keep_dataset(session: Session, dataset: Dataset) -> bool:
    """Keep a dataset from being deleted until a job that names it is there; False when it is gone already."""
    query = select(Dataset.key).where(Dataset.key == dataset.key).with_for_update(read=True, key_share=True)
    return session.execute(query).first() is not None


def count_unfinished(session: Session, project_id: str) -> int:
    """The jobs of a project that wait or run; no other transaction adds one until this one ends."""
    session.execute(select(Project.id).where(Project.id == project_id).with_for_update(key_share=True))
    query = select(func.count()).where(Job.project_id == project_id, Job.status.in_(UNFINISHED))
    return session.execute(query).scalar_one()


def add_job(session: Session, **values: Any) -> Job:
    return session.execute(insert(Job).values(status="queued", **values).returning(Job)).scalar_one()


def add_events(session: Session, job_key: int, events: Sequence[NewEvent]) -> None:
    """Append events; the update locks the job's row, so that the numbers have no gaps."""
    last = session.execute(
        update(Job).where(Job.key == job_key).values(last_event=Job.last_event + len(events)).returning(Job.last_event)
    ).scalar_one()
    insert_events(session, job_key, last, events)


def insert_events(session: Session, job_key: int, last: int, events: Sequence[NewEvent]) -> None:
    """Write events of which the last has the number `last`, which the caller took from the job's row."""
    rows = [
        {
            "job_key": job_key,
            "number": number,
            "level": event.level,
            "type": event.type,
            "message": event.message.replace("\x00", "")[:MAX_MESSAGE_LENGTH],
            "data": event.data,
        }
        for number, event in enumerate(events, start=last - len(events) + 1)
    ]
    if rows:
        session.execute(insert(JobEvent), rows)


def find_job(session: Session, project_id: str, job_id: str) -> Job | None:
    return session.execute(select(Job).where(Job.id == job_id, Job.project_id == project_id)).scalar_one_or_none()


def list_jobs(
    session: Session,
    project_id: str,
    *,
    after: Job | None,
    limit: int,
    descending: bool,
    status: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> list[Job]:
    """A page of a project's jobs by (created_at, id), one more than `limit` when there are more."""
    query = select(Job).where(Job.project_id == project_id)
    if metadata:
        query = query.where(Job.job_metadata.contains(dict(metadata)))
    if status is not None:
        query = query.where(Job.status == status)
    query = page_by_date(query, Job, after=after, limit=limit, descending=descending)
    return list(session.execute(query).scalars())


def queue_positions(session: Session, jobs: Sequence[Job]) -> dict[int, int]:
    """By key, where the queued ones of `jobs` stand in the queue of all projects; 1 is next."""
    queued = [job.key for job in jobs if job.status == "queued"]
    if not queued:
        return {}
    queue = (
        select(Job.key, func.row_number().over(order_by=(Job.queued_at, Job.key)).label("position"))
        .where(Job.status == "queued")
        .subquery()
    )
    rows = session.execute(select(queue.c.key, queue.c.position).where(queue.c.key.in_(queued)))
    return {row.key: row.position for row in rows}


@dataclass(frozen=True)
class QueueFacts:
    """The jobs of all projects: how many by status, and how long the queue and the leases are."""

    counts: dict[str, int]
    oldest_queued_seconds: float
    shortest_lease_seconds: float  # infinite when nothing runs


def queue_facts(session: Session) -> QueueFacts:
    counts = dict.fromkeys(JOB_STATUSES, 0)
    for row in session.execute(select(Job.status, func.count().label("n")).group_by(Job.status)):
        counts[row.status] = row.n
    waited = func.extract("epoch", func.now() - func.min(Job.queued_at).filter(Job.status == "queued"))
    lease = func.extract("epoch", func.min(Job.lease_until) - func.now())
    longest, shortest = session.execute(select(waited, lease).where(Job.status.in_(UNFINISHED))).one()
    return QueueFacts(counts, float(longest or 0), math.inf if shortest is None else float(shortest))


def running_jobs(session: Session) -> list[Row[Job, float, float]]:
    """The running jobs of all projects, oldest first: job, seconds that its lease has left, seconds since its start."""
    left = func.extract("epoch", Job.lease_until - func.now())
    age = func.extract("epoch", func.now() - Job.started_at)
    query = select(Job, cast(left, Float), cast(age, Float)).where(Job.status == "running").order_by(Job.started_at)
    rows: list[Any] = list(session.execute(query).all())
    return rows


def file_ids(session: Session, jobs: Sequence[Job]) -> dict[tuple[str, int], str]:
    """By dataset and version, the file that names what jobs train on."""
    query = select(File).where(File.dataset_id.in_({job.dataset_id for job in jobs}))
    return {(file.dataset_id, file.dataset_version): file.id for file in session.execute(query).scalars()}


def list_events(
    session: Session, job_key: int, *, after: int | None, limit: int, descending: bool = False
) -> list[JobEvent]:
    """The events that follow number `after` in the chosen order, one more than `limit` when there are more."""
    query = select(JobEvent).where(JobEvent.job_key == job_key)
    mark = None if after is None else (after,)
    query = page_by_key(query, (JobEvent.number,), after=mark, limit=limit, descending=descending)
    return list(session.execute(query).scalars())


def metrics_events(session: Session, job_key: int) -> list[JobEvent]:
    """The events that carry measurements, in order."""
    query = select(JobEvent).where(JobEvent.job_key == job_key, JobEvent.type == "metrics").order_by(JobEvent.number)
    return list(session.execute(query).scalars())


def list_checkpoints(
    session: Session, job_key: int, *, after: JobCheckpoint | None, limit: int, descending: bool
) -> list[JobCheckpoint]:
    """A page of a job's checkpoints by (step, id), one more than `limit` when there are more."""
    query = select(JobCheckpoint).where(JobCheckpoint.job_key == job_key)
    key = (JobCheckpoint.step, JobCheckpoint.id)
    mark = None if after is None else (after.step, after.id)
    query = page_by_key(query, key, after=mark, limit=limit, descending=descending)
    return list(session.execute(query).scalars())


def find_checkpoint(session: Session, job_key: int, checkpoint_id: str) -> JobCheckpoint | None:
    query = select(JobCheckpoint).where(JobCheckpoint.job_key == job_key, JobCheckpoint.id == checkpoint_id)
    return session.execute(query).scalar_one_or_none()


def lock_job(session: Session, project_id: str, job_id: str) -> Job | None:
    """A job that nobody else can change until the transaction ends; report rows that point to it may be written."""
    query = select(Job).where(Job.id == job_id, Job.project_id == project_id).with_for_update(key_share=True)
    return session.execute(query.execution_options(populate_existing=True)).scalar_one_or_none()


def request_cancel(session: Session, job: Job) -> None:
    """Ask for the end of a locked, unfinished job: a queued one is cancelled at once, a running one by its worker.

    Asking again changes nothing.
    """
    if job.cancel_requested_at is not None:
        return
    running = job.status == "running"
    values = {"cancel_requested_at": func.now()} | ({} if running else cancelled())
    session.execute(update(Job).where(Job.key == job.key).values(**values))
    message = "The user asked to cancel" if running else "Cancelled by the user before it started"
    add_events(session, job.key, [NewEvent(message, level="warn")])
    if not running:
        announce_end(session, job.key)
    session.refresh(job)


def cancelled() -> dict[str, Any]:
    """The values of a row whose job ends because its user asked."""
    return {
        "status": "cancelled",
        "finished_at": func.now(),
        "lease_until": None,
        "error_code": "cancelled_by_user",
        "error_message": "Cancelled by the user.",
    }
