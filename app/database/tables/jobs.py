"""Jobs, and what happened to them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, Integer, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, Timestamp, creation_time

JOB_STATUSES = ("validating_files", "queued", "running", "succeeded", "failed", "cancelled")
UNFINISHED = ("validating_files", "queued", "running")


class Job(Base):
    """A fine-tuning job. Workers write to it only with the attempt that they claimed (a fence)."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(Text, primary_key=True)  # ftjob-…
    key: Mapped[int] = mapped_column(Integer, Identity(), unique=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"), index=True)
    dataset_version: Mapped[int]
    model: Mapped[str] = mapped_column(Text)
    method: Mapped[dict[str, Any]] = mapped_column(JSONB)  # as asked for
    resolved: Mapped[dict[str, Any] | None] = mapped_column(JSONB)  # what "auto" became: {name: {value, why}}
    seed: Mapped[int]
    suffix: Mapped[str | None] = mapped_column(Text)
    job_metadata: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB, server_default=text("'{}'"))
    status: Mapped[str] = mapped_column(Text)
    progress: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    attempt: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    lost_attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))  # ended by a crash or a lost worker
    notified_at: Mapped[datetime | None] = mapped_column(Timestamp)  # when the queue was last told of it
    last_event: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    worker_id: Mapped[str | None] = mapped_column(Text)
    lease_until: Mapped[datetime | None] = mapped_column(Timestamp)
    cancel_requested_at: Mapped[datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = creation_time()
    queued_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())
    started_at: Mapped[datetime | None] = mapped_column(Timestamp)
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)
    error_code: Mapped[str | None] = mapped_column(Text)
    error_message: Mapped[str | None] = mapped_column(Text)
    log_tail: Mapped[str | None] = mapped_column(Text)
    fine_tuned_model: Mapped[str | None] = mapped_column(Text)
    summary: Mapped[dict[str, Any] | None] = mapped_column(JSONB)  # the report's overview
    __table_args__ = (
        CheckConstraint("status IN ('" + "','".join(JOB_STATUSES) + "')", name="status"),
        CheckConstraint("(finished_at IS NOT NULL) = (status IN ('succeeded','failed','cancelled'))", name="finished"),
        CheckConstraint("(status = 'running') = (lease_until IS NOT NULL)", name="lease"),
        Index("ix_jobs_project_id_created_at_id", "project_id", "created_at", "id"),
        Index("ix_jobs_waiting", "queued_at", postgresql_where=text("status IN ('queued','running')")),
    )


class JobEvent(Base):
    """What happened to a job, numbered 1, 2, 3, … without gaps."""

    __tablename__ = "job_events"
    job_key: Mapped[int] = mapped_column(ForeignKey("jobs.key", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.clock_timestamp())
    level: Mapped[str] = mapped_column(Text)  # info, warn, error
    type: Mapped[str] = mapped_column(Text)  # message, metrics
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any] | None] = mapped_column(JSONB)


class JobCheckpoint(Base):
    __tablename__ = "job_checkpoints"
    id: Mapped[str] = mapped_column(Text, primary_key=True)  # ftckpt_…
    job_key: Mapped[int] = mapped_column(ForeignKey("jobs.key", ondelete="CASCADE"), index=True)
    step: Mapped[int]
    metrics: Mapped[dict[str, Any]] = mapped_column(JSONB)
    artifact: Mapped[str] = mapped_column(Text)  # prefix in the artifact store
    created_at: Mapped[datetime] = creation_time()
