"""What workers and the reconciler write: the life of a job, as transitions of its row.

    queued ── claim ──> running ── succeed, fail, finish_cancelled ──> succeeded | failed | cancelled
      ^                    │
      └──── hand_back, lose_attempt

Every write of a worker names the attempt that it claimed. A worker whose job was given to another holds an old
attempt, so its writes match no row and raise LeaseLost. Times are the database's own: no worker's clock matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Integer, and_, cast, func, insert, literal, or_, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from app.database.job_queries import NewEvent, add_events, cancelled, insert_events
from app.database.tables import Job, JobCheckpoint
from app.database.webhook_queries import announce_end

RING_AGAIN_SECONDS = 10.0
RING_AT_MOST = 1000
NO_FILES = ""  # the `artifact` of a checkpoint whose files were let go


class LeaseLost(Exception):
    """The job is no longer this worker's: it ended, its user cancelled it, or another worker has it."""


@dataclass(frozen=True)
class Claim:
    """One attempt at a job: what its worker must name in every write."""

    job_key: int
    attempt: int


@dataclass(frozen=True)
class Progress:
    """How far an attempt is; `percent` is of the whole job.

    `pace` is {phase: {"seconds", "steps"}}: the time that this attempt spent in each, and the steps that it made there.
    """

    phase: str
    step: int
    total_steps: int
    percent: float
    seconds_left: float | None
    pace: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class NewCheckpoint:
    """A whole checkpoint, stored under the artifact prefix `artifact`."""

    id: str
    step: int
    metrics: dict[str, Any]
    artifact: str


@dataclass(frozen=True)
class News:
    """What an attempt has to tell; `resolved` says what every "auto" became."""

    events: tuple[NewEvent, ...] = ()
    checkpoints: tuple[NewCheckpoint, ...] = ()
    progress: Progress | None = None
    resolved: dict[str, Any] | None = None

    def then(self, later: News) -> News:
        """This, brought up to date."""
        return News(
            self.events + later.events,
            self.checkpoints + later.checkpoints,
            later.progress or self.progress,
            later.resolved or self.resolved,
        )


@dataclass(frozen=True)
class LostAttempt:
    """A running job whose worker let its lease run out."""

    claim: Claim
    job_id: str


def _seconds(value: float) -> ColumnElement[timedelta]:
    return func.make_interval(0, 0, 0, 0, 0, 0, value)


def _owned(claim: Claim) -> ColumnElement[bool]:
    return and_(Job.key == claim.job_key, Job.attempt == claim.attempt, Job.status == "running")


def _write(session: Session, claim: Claim, events: Sequence[NewEvent] = (), **values: Any) -> None:
    """Change the row of a job that is still the claim's, and append events. Raises LeaseLost."""
    last = session.execute(
        update(Job)
        .where(_owned(claim))
        .values(last_event=Job.last_event + len(events), **values)
        .returning(Job.last_event)
    ).scalar_one_or_none()
    if last is None:
        raise LeaseLost(f"job {claim.job_key}, attempt {claim.attempt}")
    insert_events(session, claim.job_key, last, events)


def claim_job(session: Session, job_id: str, worker_id: str, lease_seconds: float) -> Claim | None:
    """Take a queued job, or None when somebody has it or it is over."""
    row = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.status == "queued")
        .values(
            status="running",
            attempt=Job.attempt + 1,
            worker_id=worker_id,
            lease_until=func.now() + _seconds(lease_seconds),
            started_at=func.coalesce(Job.started_at, func.now()),
        )
        .returning(Job.key, Job.attempt)
    ).one_or_none()
    if row is None:
        return None
    data = {"attempt": row.attempt, "worker": worker_id}
    add_events(session, row.key, [NewEvent(f"Attempt {row.attempt} started", data=data)])
    return Claim(row.key, row.attempt)


def heartbeat(session: Session, claim: Claim, lease_seconds: float) -> bool:
    """Extend the lease; True when the user asked to cancel. Raises LeaseLost."""
    row = session.execute(
        update(Job)
        .where(_owned(claim))
        .values(lease_until=func.now() + _seconds(lease_seconds))
        .returning(Job.cancel_requested_at)
    ).one_or_none()
    if row is None:
        raise LeaseLost(f"job {claim.job_key}, attempt {claim.attempt}")
    return row.cancel_requested_at is not None


def record(session: Session, claim: Claim, news: News) -> None:
    """Note what an attempt has to tell. Raises LeaseLost."""
    values: dict[str, Any] = {}
    if news.progress is not None:
        values["progress"] = _progress_json(news.progress)
    if news.resolved is not None:
        values["resolved"] = news.resolved
    _write(session, claim, news.events, **values)
    rows = [{"job_key": claim.job_key, **asdict(checkpoint)} for checkpoint in news.checkpoints]
    if rows:
        session.execute(insert(JobCheckpoint), rows)


def _progress_json(progress: Progress) -> ColumnElement[Any]:
    """The progress with `eta_at`, the unix time of the end by the database's clock, or null."""
    values = asdict(progress)
    left = values.pop("seconds_left")
    now = func.extract("epoch", func.now())
    eta = literal(None, Integer) if left is None else cast(now + left, Integer)
    return cast(literal(values, JSONB).op("||")(func.jsonb_build_object(text("'eta_at'"), eta)), JSONB)


def stored_checkpoints(session: Session, job_key: int) -> list[JobCheckpoint]:
    """The checkpoints of a job whose files are kept, newest first."""
    query = select(JobCheckpoint).where(JobCheckpoint.job_key == job_key, JobCheckpoint.artifact != NO_FILES)
    newest_first = (JobCheckpoint.step.desc(), JobCheckpoint.created_at.desc())
    return list(session.execute(query.order_by(*newest_first)).scalars())


def checkpoints_of_finished_jobs(session: Session, limit: int) -> list[JobCheckpoint]:
    """Checkpoints that nobody will resume from, whose files are still kept."""
    query = (
        select(JobCheckpoint)
        .join(Job, Job.key == JobCheckpoint.job_key)
        .where(Job.finished_at.is_not(None), JobCheckpoint.artifact != NO_FILES)
    )
    return list(session.execute(query.limit(limit)).scalars())


def mark_files_gone(session: Session, checkpoint_ids: Sequence[str]) -> None:
    session.execute(update(JobCheckpoint).where(JobCheckpoint.id.in_(checkpoint_ids)).values(artifact=NO_FILES))


def succeed(session: Session, claim: Claim, fine_tuned_model: str | None) -> None:
    """End a job well, unless its user asked to cancel first. Raises LeaseLost."""
    done = literal({"percent": 100.0, "eta_at": None}, JSONB)
    last = session.execute(
        update(Job)
        .where(_owned(claim), Job.cancel_requested_at.is_(None))
        .values(
            status="succeeded",
            finished_at=func.now(),
            lease_until=None,
            fine_tuned_model=fine_tuned_model,
            progress=Job.progress.op("||")(done),
            last_event=Job.last_event + 1,
        )
        .returning(Job.last_event)
    ).scalar_one_or_none()
    if last is None:
        raise LeaseLost(f"job {claim.job_key}, attempt {claim.attempt}")
    event = NewEvent("The job succeeded", data={"fine_tuned_model": fine_tuned_model})
    insert_events(session, claim.job_key, last, [event])
    announce_end(session, claim.job_key)


def fail(session: Session, claim: Claim, code: str, message: str) -> None:
    """End a job with a reason. Raises LeaseLost."""
    _write(
        session,
        claim,
        [NewEvent(message, level="error", data={"code": code})],
        status="failed",
        finished_at=func.now(),
        lease_until=None,
        error_code=code,
        error_message=message,
    )
    announce_end(session, claim.job_key)


def finish_cancelled(session: Session, claim: Claim) -> None:
    """End a job whose process has gone, as its user asked. Raises LeaseLost."""
    _write(session, claim, [NewEvent("Cancelled by the user", level="warn")], **cancelled())
    announce_end(session, claim.job_key)


def hand_back(session: Session, claim: Claim) -> None:
    """Queue a job again whose worker shuts down; this does not count as lost. Raises LeaseLost.

    A job whose user asked to cancel ends instead, here and in lose_attempt.
    """
    if not _end_if_cancelled(session, claim):
        event = NewEvent("The worker shuts down; the job goes on with another", level="warn")
        _write(session, claim, [event], **_queued_again())


def _end_if_cancelled(session: Session, claim: Claim) -> bool:
    asked = select(Job.key).where(_owned(claim), Job.cancel_requested_at.is_not(None)).with_for_update()
    if session.execute(asked).first() is None:
        return False
    finish_cancelled(session, claim)
    return True


def _queued_again() -> dict[str, Any]:
    return {
        "status": "queued",
        "queued_at": func.now(),
        "notified_at": None,
        "lease_until": None,
        "worker_id": None,
        "progress": {},
    }


def lose_attempt(session: Session, claim: Claim, max_attempts: int, code: str, reason: str) -> bool:
    """An attempt ended without a result: queue the job again, or fail it when no attempts are left.

    True when it was queued again. Raises LeaseLost.
    """
    if _end_if_cancelled(session, claim):
        return False
    _write(session, claim, lost_attempts=Job.lost_attempts + 1)
    lost = session.execute(select(Job.lost_attempts).where(Job.key == claim.job_key)).scalar_one()
    if lost >= max_attempts:
        fail(session, claim, code, f"{reason} This was attempt {lost} of {max_attempts}; none is left.")
        return False
    event = NewEvent(f"{reason} The job is queued again.", level="warn", data={"code": code})
    _write(session, claim, [event], **_queued_again())
    return True


def keep_log_tail(session: Session, claim: Claim, tail: str) -> None:
    """Keep the last output of an attempt with its job, however it ended, unless another has begun since."""
    ours = and_(Job.key == claim.job_key, Job.attempt == claim.attempt)
    session.execute(update(Job).where(ours).values(log_tail=tail.replace("\x00", "")))


def lost_attempts(session: Session, lease_seconds: float) -> list[LostAttempt]:
    """The running jobs whose lease ran out, locked.

    None for one lease after the database started: while it was away nobody could renew a lease.
    """
    up_long_enough = func.pg_postmaster_start_time() < func.now() - _seconds(lease_seconds)
    rows = session.execute(
        select(Job.key, Job.attempt, Job.id)
        .where(Job.status == "running", Job.lease_until < func.now(), up_long_enough)
        .with_for_update(skip_locked=True)
    )
    return [LostAttempt(Claim(row.key, row.attempt), row.id) for row in rows]


def running_attempts(session: Session) -> list[tuple[str, int]]:
    """Id and attempt of all running jobs."""
    rows = session.execute(select(Job.id, Job.attempt).where(Job.status == "running"))
    return [(row.id, row.attempt) for row in rows]


def jobs_to_ring(session: Session, unread_messages: int) -> list[str]:
    """Queued jobs that no message is known to wait for, oldest first; they are marked as told.

    Messages were lost when fewer wait than jobs do. While there are enough, all is well: workers are busy.
    """
    n_queued = select(func.count()).where(Job.status == "queued").scalar_subquery()
    forgotten = and_(n_queued > unread_messages, Job.notified_at < func.now() - _seconds(RING_AGAIN_SECONDS))
    query = (
        select(Job.key)
        .where(Job.status == "queued", or_(Job.notified_at.is_(None), forgotten))
        .order_by(Job.queued_at, Job.key)
    )
    keys = session.execute(query.limit(RING_AT_MOST).with_for_update(skip_locked=True)).scalars().all()
    told = update(Job).where(Job.key.in_(keys)).values(notified_at=func.now()).returning(Job.key, Job.id)
    ids = {row.key: row.id for row in session.execute(told)}
    return [ids[key] for key in keys]
